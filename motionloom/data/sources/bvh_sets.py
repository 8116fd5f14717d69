"""Datasets of plain BVH files: 100STYLE and LAFAN1.

100STYLE (Mason, Starke, Komura, "Real-time style modelling of human locomotion via feature-wise transformations and
local motion phases", 2022; CC BY 4.0): a hundred ways to walk, run and stand, one performer, 60 fps. The ends of each
file are preparation; ``Frame_Cuts.csv`` says which frames are the motion. LAFAN1 (Harvey et al., "Robust motion
in-betweening", 2020; CC BY-NC-ND 4.0): actions of five subjects, 30 fps, centimetres.
"""

import re
from pathlib import Path

from motionloom import licences
from motionloom.data.sources import Take, Timed
from motionloom.data.sources.common import BODY, listed, number, read_table, split_of
from motionloom.errors import DataError

_CONTENTS = {
    "BR": "runs backwards",
    "BW": "walks backwards",
    "FR": "runs forward",
    "FW": "walks forward",
    "ID": "stands in place",
    "SR": "runs sideways",
    "SW": "walks sideways",
    "TR1": "changes between ways of moving",
    "TR2": "changes between ways of moving",
    "TR3": "changes between ways of moving",
}
_CUTS = "Frame_Cuts.csv"
_LIST = "Dataset_List.csv"
_STYLE_FPS, _LAFAN_FPS = 60.0, 30.0
_LAFAN_NAME = re.compile(r"(?P<action>[A-Za-z]+)(?P<number>\d+)_(?P<subject>subject\d+)")
_LAFAN_TEST = "subject5"
"""The subject that the paper tests on."""
_WORDS = {
    "aiming": "a person moves around and aims a gun",
    "dance": "a person dances",
    "fallAndGetUp": "a person falls down and gets up again",
    "fight": "a person fights",
    "fightAndSports": "a person fights and does sports",
    "ground": "a person crawls and crouches",
    "jumps": "a person jumps",
    "multipleActions": "a person does several things one after the other",
    "obstacles": "a person moves over uneven ground",
    "push": "a person pushes",
    "pushAndFall": "a person pushes, falls and gets up",
    "pushAndStumble": "a person pushes and stumbles",
    "run": "a person runs",
    "sprint": "a person sprints",
    "walk": "a person walks",
}


def style100(folder: Path) -> list[Take]:
    """The cut motions of 100STYLE, found by ``Frame_Cuts.csv``: files ``<style>_<content>.bvh`` anywhere below.

    Raises:
        DataError: ``Frame_Cuts.csv`` is missing or wrong, or it names motions that are not there.
    """
    cuts = next(iter(sorted(folder.rglob(_CUTS))), None)
    if cuts is None:
        raise DataError(f"{folder}: {_CUTS} is missing; unpack the 100STYLE archive and give its folder")
    files = {path.stem: path for path in sorted(folder.rglob("*.bvh"))}
    described = _descriptions(cuts.with_name(_LIST))
    takes, missing = [], []
    for row in read_table(cuts, ("STYLE_NAME",)):
        style = row["STYLE_NAME"]
        for content, verb in _CONTENTS.items():
            # A style without a content has "N/A" there.
            edges = [row.get(f"{content}_{edge}", "") for edge in ("START", "STOP")]
            if not all(edge.isdigit() for edge in edges):
                continue
            name = f"{style}_{content}"
            if name not in files:
                missing.append(f"{name}.bvh")
                continue
            first, last = (number(edge, f"{cuts}: {name}") for edge in edges)
            labels = {"style": style, "content": content} | described.get(style, {})
            takes.append(
                Take(
                    id=f"100style/{name}",
                    source="100style",
                    licence=licences.STYLE100,
                    path=files[name],
                    fps=_STYLE_FPS,
                    unit=0.01,
                    split=split_of(f"100style {style}"),
                    labels=labels,
                    start=first / _STYLE_FPS,
                    stop=last / _STYLE_FPS,
                    texts=_sentences(verb, style, labels.get("description", "")),
                    valid=BODY,
                )
            )
    if missing:
        raise DataError(f"{folder}: {len(missing)} files of {_CUTS} are missing: {listed(missing)}")
    if not takes:
        raise DataError(f"{cuts}: names no motion; columns such as FW_START and FW_STOP with frame numbers are needed")
    return takes


def _descriptions(table: Path) -> dict[str, dict[str, str]]:
    if not table.is_file():
        return {}
    return {
        row["Style Name"]: {"description": row["Description"]}
        for row in read_table(table, ("Style Name", "Description"))
        if row["Description"]
    }


def _sentences(verb: str, style: str, description: str) -> tuple[Timed, ...]:
    """The content, the content in the style, and the style's description where the dataset has one."""
    words = " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", style)).lower()
    sentences = [f"a person {verb} in the style {words}"] if words != "neutral" else [f"a person {verb}"]
    if description:
        sentences.append(f"a person {verb}: {description.rstrip('.')}")
    return tuple(Timed(sentence) for sentence in sentences)


def lafan1(folder: Path) -> list[Take]:
    """The files of LAFAN1, found by their names (``walk1_subject1.bvh``); subject 5 is the test split, as published.

    Raises:
        DataError: There is no such file below the folder.
    """
    found = {
        path: name for path in sorted(folder.rglob("*.bvh")) if (name := _LAFAN_NAME.fullmatch(path.stem)) is not None
    }
    if not found:
        raise DataError(f"{folder}: no files named ACTIONn_subjectn.bvh; unpack lafan1.zip there")
    return [
        Take(
            id=f"lafan1/{path.stem}",
            source="lafan1",
            licence=licences.LAFAN1,
            path=path,
            fps=_LAFAN_FPS,
            unit=0.01,
            split="test" if name["subject"] == _LAFAN_TEST else "train",
            labels={"action": name["action"], "subject": name["subject"]},
            # A name this table lacks is still a caption: its words, taken apart at the capitals.
            texts=(Timed(_WORDS.get(name["action"], _words(name["action"]))),),
            valid=BODY,
        )
        for path, name in found.items()
    ]


def _words(name: str) -> str:
    return " ".join(re.findall(r"[A-Z]?[a-z]+", name)).lower()
