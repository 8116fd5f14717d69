"""The figures in TABLES and docs/results.md are those of the result files."""

import json
from pathlib import Path

import pytest

from motionloom.evaluation.registry import markdown

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TABLES = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def result(name: str):
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def test_the_evaluation_table_is_what_the_result_file_says():
    for line in markdown(result("mmm-evaluate")):
        assert line in TABLES


@pytest.mark.parametrize("group", ["grammar", "free", "fresh"])
@pytest.mark.parametrize("lengths", ["given", "predicted"])
def test_the_judges_counts_are_those_of_the_result_file(group, lengths):
    counts = result("mmm-judge")[f"{group}, {lengths} lengths"]
    share = round(100 * counts["passed"] / counts["of"])
    assert f"{counts['passed']} of {counts['of']} ({share} %)" in TABLES


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
        assert form.format(made[name], real[name]) in TABLES, name


def test_reconstruction_is_that_of_the_result_file():
    figures = result("mmm-tokenizer")["figures"]
    for source in ("all", "bandai", "cmu"):
        (row,) = [value for name, value in figures.items() if name.startswith(f"{source}, up to 6.4 s")]
        assert f"{row['local_mm']:.0f} mm, {row['global_mm']:.0f} mm, {row['degrees']:.1f}°" in TABLES


def test_the_readme_is_short_and_says_the_same():
    assert len(README.splitlines()) <= 140
    counts = result("mmm-judge")
    for group in ("grammar", "free"):
        one = counts[f"{group}, given lengths"]
        assert f"{one['passed']} of {one['of']} ({100 * one['passed'] / one['of']:.0f} %)" in README
    rows = result("mmm-evaluate")["rows"]
    made, real = (rows[name]["R-precision top 1"] for name in ("engine, true length", "real"))
    assert f"{made['mean']:.3f} ± {made['half_width']:.3f} / {real['mean']:.3f} ± {real['half_width']:.3f}" in README
    made = rows["engine, true length"]["FID"]
    assert f"{made['mean']:.3f} ± {made['half_width']:.3f}" in README
    means, truth = counts["grammar, given lengths"]["means"], counts["real"]["labels of grammar"]["means"]
    slide = "foot slide, standing foot, m/s"
    assert f"{means[slide]:.2f} / {truth[slide]:.2f} m/s" in README
