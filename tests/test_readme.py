"""The figures in the README are those of the result files."""

import json
from pathlib import Path

import pytest

from motionloom.evaluation.registry import markdown

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def result(name: str):
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def test_the_evaluation_table_is_what_the_result_file_says():
    for line in markdown(result("mmm-evaluate")):
        assert line in README


@pytest.mark.parametrize("group", ["grammar", "free", "fresh"])
@pytest.mark.parametrize("lengths", ["given", "predicted"])
def test_the_judges_counts_are_those_of_the_result_file(group, lengths):
    counts = result("mmm-judge")[f"{group}, {lengths} lengths"]
    share = round(100 * counts["passed"] / counts["of"])
    assert f"{counts['passed']} of {counts['of']} ({share} %)" in README


def test_quantities_are_those_of_the_result_file():
    found = result("mmm-judge")
    made, real = found["grammar, given lengths"]["means"], found["real"]["labels of grammar"]["means"]
    rows = {
        "turn angle deg": "{:.0f}° / {:.0f}°",
        "wave wrist speed m/s": "{:.2f} / {:.2f} m/s",
        "bow head drop m": "{:.2f} / {:.2f} m",
        "foot slide, standing foot, m/s": "{:.2f} / {:.2f} m/s",
        "walking speed m/s": "{:.2f} / {:.2f} m/s",
    }
    for name, form in rows.items():
        assert form.format(made[name], real[name]) in README, name


def test_reconstruction_is_that_of_the_result_file():
    figures = result("mmm-tokenizer")["figures"]
    for source in ("all", "bandai", "cmu"):
        (row,) = [value for name, value in figures.items() if name.startswith(f"{source}, up to 6.4 s")]
        assert f"{row['local_mm']:.0f} mm, {row['global_mm']:.0f} mm, {row['degrees']:.1f}°" in README
