"""Licences: every source has typed terms, unknown ones are non-commercial, and the strictest follows every input."""

import ast
import json
from importlib import import_module
from pathlib import Path

import make
import pytest
import torch
from conftest import ROOT

from motionloom import licences
from motionloom.data.sources import Take
from motionloom.data.store import Store
from motionloom.licences import Licence, from_facts, licence_of, licences_in, share_alike, strictest
from motionloom.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from motionloom.models.length import LengthPredictor
from motionloom.training.cards import Origins, card

FACTS = {"recipe": "x", "steps": 1, "batch": 2, "seed": 3}
SOURCES = sorted((ROOT / "motionloom/data/sources").glob("*.py"))
KNOWN = {value for value in vars(licences).values() if isinstance(value, Licence)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_take_of_every_source_has_a_typed_licence(path: Path) -> None:
    calls = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Take", "Licence")
    ]
    for call in calls:
        if ast.unparse(call.func) == "Take":
            (given,) = [word.value for word in call.keywords if word.arg == "licence"] or [None]
            assert given is not None, f"{path.name}:{call.lineno}: a take without a licence"
            assert not isinstance(given, ast.Constant), f"{path.name}:{call.lineno}: a licence must be typed"
    # Texts that only look like licences are none: constants of a source must be typed too.
    module = import_module(f"motionloom.data.sources.{path.stem}")
    named = {name: value for name, value in vars(module).items() if name.endswith("LICENCE")}
    assert all(isinstance(value, Licence) for value in named.values()), named


@pytest.mark.parametrize("licence", sorted(KNOWN, key=str), ids=str)
def test_licences_of_the_table_are_read_back_from_their_text_and_their_facts(licence: Licence) -> None:
    assert licence_of(str(licence)) == licence
    assert from_facts(json.loads(json.dumps(licence.facts()))) == licence
    said = str(licence).lower()
    if "non-commercial" in said or "research" in said or "-nc" in said:
        assert licence.commercial is not True
    assert licence.share_alike == any(word in said for word in ("-sa", "lgpl"))
    assert licence.derivatives == ("-nd" not in said)
    assert licence.url or licence.commercial is None


@pytest.mark.parametrize(
    ("text", "commercial", "alike"),
    [
        ("CC-BY-4.0", True, False),
        ("CC BY-NC-SA 3.0 (someone)", False, True),
        ("cc by-sa 4.0", True, True),
        ("CC0-1.0", True, False),
        ("mit", True, False),
        ("Apache-2.0", True, False),
        ("LGPL 2.1 (x)", True, True),
        ("", None, False),
        ("ask me", None, False),
        ("CC BY 4.0 or so", None, False),
        ("for research only, NC", False, False),
        ("CC BY 4.0; CC BY-NC 4.0", False, False),
        ("MIT; ask me", None, False),
    ],
)
def test_texts_that_people_write_are_understood_or_count_as_non_commercial(
    text: str, commercial: bool | None, alike: bool
) -> None:
    assert (licence_of(text).commercial, licence_of(text).share_alike) == (commercial, alike)


def test_the_strictest_of_several_is_found_whatever_their_order() -> None:
    order = [
        licences.CC0, licences.CC_BY, licences.CC_BY_SA_3, licences.CC_BY_NC, licences.CC_BY_NC_ND, licences.AMASS,
        licences.NOT_GIVEN,
    ]  # fmt: skip
    for at, licence in enumerate(order):
        assert strictest(order[: at + 1]) == licence == strictest(reversed(order[: at + 1]))
    assert strictest([]) == licences.NOT_GIVEN
    assert share_alike(order) == ("CC BY-SA 3.0",)
    assert "non-commercial" in licences.NOT_GIVEN.terms


def _store(folder: Path, *licence: str) -> Store:
    """A store of one clip for each licence."""
    rows = [f'{at}.bvh,a person walks,"{text}"' for at, text in enumerate(licence)]
    folder.mkdir(parents=True)
    (folder / "captions.csv").write_text("file,text,licence\n" + "\n".join(rows) + "\n")
    for at in range(len(licence)):
        make.motion(frames=60 + 20 * at, seed=at).save(folder / f"{at}.bvh")
    from motionloom.data.prepare import prepare

    prepare({"folder": folder}, folder / "store", workers=1, progress=False)
    return Store(folder / "store")


def _model(folder: Path, licence: str, data: dict) -> Checkpoint:
    torch.manual_seed(0)
    save_checkpoint(folder, LengthPredictor.tiny(), {}, data, licence, "# A card\n")
    return load_checkpoint(folder)


def test_a_store_says_the_share_of_every_licence_and_its_card_the_strictest(tmp_path: Path) -> None:
    store = _store(tmp_path / "raw", "CC0", "CC BY-SA 3.0 (HDM05, Universität Bonn)", "whatever")
    origins = Origins.of(store)
    assert origins.licence == "whatever"
    assert sum(entry["share"] for entry in origins.shares.values()) == pytest.approx(1, abs=1e-3)
    assert origins.shares["CC0"]["hours"] < origins.shares["whatever"]["hours"]
    assert origins.data["commercial"] is False
    assert origins.data["share_alike"] == ["CC BY-SA 3.0 (HDM05, Universität Bonn)"]
    text = card("A model", {}, FACTS, {"loss": 1.0}, origins)
    for part in ("Licence: whatever.", "Share-alike", "[CC0](https://", "not stated: counts as non-commercial"):
        assert part in text
    assert all(f"{100 * entry['share']:.1f} % of the hours" in text for entry in origins.shares.values())


@pytest.mark.parametrize(
    ("licence", "wanted"),
    [
        ("CC0", "CC BY 4.0"),
        ("CMU mocap (free for any use; credit mocap.cs.cmu.edu)", "CC BY 4.0"),
        ("CC BY-NC 4.0 (Bandai Namco Research Inc.)", "CC BY-NC 4.0"),
        ("CC BY-SA 3.0", "CC BY-SA 3.0"),
        ("AMASS licence (non-commercial research)", "AMASS licence (non-commercial research)"),
        ("", "not given"),
    ],
)
def test_weights_get_the_licence_of_their_data(tmp_path: Path, licence: str, wanted: str) -> None:
    assert Origins.of(_store(tmp_path / "raw", licence)).licence == wanted


def test_initial_weights_and_tokenizers_hand_their_licences_on(tmp_path: Path) -> None:
    store = _store(tmp_path / "raw", "CC0")
    clean = {"sources": {"own": {"clips": 3, "licence": "CC0"}}}
    _model(tmp_path / "nc", "CC BY-NC 4.0", clean)
    # Saved by an older version: the licence of the weights is wrong, that of the data is there.
    _model(tmp_path / "older", "CC BY 4.0", {"sources": {"amass": {"clips": 3, "licence": str(licences.AMASS)}}})
    assert Origins.of(store, str(tmp_path / "nc")).licence == "CC BY-NC 4.0"
    assert Origins.of(store, tokenizer=tmp_path / "older").licence == licences.AMASS.name
    assert Origins.of(store, text_encoder=licences.IMAGEBIND).licence == "CC BY-NC 4.0"
    # And so on, through as many trainings as there are.
    first = Origins.of(store, str(tmp_path / "nc"), tokenizer=tmp_path / "older")
    second = _model(tmp_path / "second", "CC BY 4.0", first.data)
    third = Origins.of(store, str(tmp_path / "second"))
    assert {str(one) for one in second.licences} >= {"CC BY-NC 4.0", licences.AMASS.name}
    assert third.licence == licences.AMASS.name
    assert licences.AMASS.name in card("A model", {}, FACTS, {}, third)


def test_data_cards_that_make_no_sense_name_no_licence() -> None:
    for data in (
        {},
        [],
        None,
        {"sources": 3},
        {"sources": {"a": 1}},
        {"licences": [1]},
        {"inputs": {"a": {"licence": 3}}},
    ):
        assert licences_in(data) == []
    assert from_facts({"name": 3, "commercial": "yes"}).commercial is None


def test_takes_carry_licences_and_not_texts() -> None:
    assert Take.__annotations__["licence"] in (Licence, "Licence")
