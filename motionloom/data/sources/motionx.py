"""Motion-X (Lin et al., NeurIPS 2023): SMPL-X arrays of 322 numbers a frame at 30 fps, with a sentence each.

Layout: ``motion_data/smplx_322/<subset>/.../<name>.npy`` and ``texts/semantic_labels/<subset>/.../<name>.txt``, lists
of names in ``train.txt``, ``val.txt``, ``test.txt`` (here or in ``datasets``). A frame is: root orientation 3, body
63, hands 90, jaw 3, expression 50, face shape 100, position 3, body shape 10. Non-commercial; subsets under their own
terms.
"""

from pathlib import Path

from motionloom import licences
from motionloom.data.sources import Take, Timed
from motionloom.data.sources.amass import marked_texts
from motionloom.data.sources.common import BODY, HANDS, lines_of, listed, need, split_of
from motionloom.data.sources.smpl import smpl_motion
from motionloom.errors import DataError
from motionloom.motion.files import check_numbers, parse_npy, read_bytes
from motionloom.motion.motion import Motion

_FPS = 30.0
_WIDTH = 322
_BODY, _FINGERS, _PATH = slice(0, 66), slice(66, 156), slice(309, 312)


def takes(folder: Path) -> list[Take]:
    """The motions that are there; those that Motion-X makes from others (humanml, EgoBody, GRAB) may be missing.

    Raises:
        DataError: A motion has no text, or there are no motions.
    """
    home = next((root for root in (folder, folder / "datasets") if (root / "motion_data").is_dir()), folder)
    need(home, ("motion_data/smplx_322", "texts/semantic_labels"), "unpack Motion-X's motion_data and texts there")
    motions, texts = home / "motion_data" / "smplx_322", home / "texts" / "semantic_labels"
    files = {path.relative_to(motions).with_suffix("").as_posix(): path for path in sorted(motions.rglob("*.npy"))}
    if not files:
        raise DataError(f"{motions}: no .npy files; unpack Motion-X's motions there")
    missing = [f"{name}.txt" for name in files if not (texts / f"{name}.txt").is_file()]
    if missing:
        raise DataError(f"{texts}: {len(missing)} texts are missing: {listed(missing)}")
    splits = {
        name: split
        for split in ("train", "val", "test")
        for root in (home, home / "datasets", folder)
        if (root / f"{split}.txt").is_file()
        for name in lines_of(root / f"{split}.txt")
    }
    found = []
    for name, path in files.items():
        subset, last = name.split("/")[0], name.rsplit("/", 1)[-1]
        if subset == "humanml" and last.startswith("M"):
            continue  # a mirror image; those are made when a store is read
        found.append(
            Take(
                id=f"motionx/{name}",
                source="motionx",
                licence=licences.MOTION_X,
                path=path,
                fps=_FPS,
                unit=None,
                split=splits.get(name) or split_of(name),
                labels={"subset": subset},
                # Its published positions are in another unit and axis until a script has been run on them.
                refuse="part of AIST++: take it from AIST++ itself (source aist)" if subset == "aist" else "",
                read="motionx",
                texts=_texts(texts / f"{name}.txt"),
                valid=(*BODY, *HANDS),
            )
        )
    return found


def _texts(path: Path) -> tuple[Timed, ...]:
    """A plain sentence a line, or lines in HumanML3D's form in the subset made from it."""
    lines = lines_of(path)
    return marked_texts(path) if any(line.count("#") == 3 for line in lines) else tuple(Timed(line) for line in lines)


def read_motionx(item: Take) -> Motion:
    """A Motion-X array; its subsets have different axes up, so the one that the bodies show is taken."""
    where = str(item.path)
    array = parse_npy(read_bytes(item.path), where)
    if array.ndim != 2 or array.shape[1] != _WIDTH:
        raise DataError(f"{where}: shape {array.shape}; {_WIDTH} numbers a frame are needed")
    values = check_numbers(array, (None, _WIDTH), where)
    return smpl_motion(values[:, _BODY], values[:, _PATH], _FPS, "seen", where, values[:, _FINGERS])
