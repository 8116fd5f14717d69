"""AMASS and the texts that were written for it: BABEL and HumanML3D.

AMASS (Mahmood et al., ICCV 2019): ``<subset>/<subject>/<motion>_poses.npz`` (SMPL-H) or ``..._stageii.npz``
(SMPL-X), Z up, each with its own frame rate. BABEL (Punnakkal et al., CVPR 2021): JSON files that name AMASS files
with labels of the sequence and of spans. HumanML3D (Guo et al., CVPR 2022): ``index.csv`` with cuts of AMASS files,
``texts/``, and the features made from them in ``new_joint_vecs/``. All licences forbid commercial use.
"""

from pathlib import Path

import torch

from motionloom import licences
from motionloom.data.sources import Take, Timed
from motionloom.data.sources.common import BODY, HANDS, lines_of, listed, need, read_json, read_table
from motionloom.errors import DataError
from motionloom.motion.files import check_numbers, parse_npy, read_bytes
from motionloom.motion.io.amass import read_amass
from motionloom.motion.motion import Motion
from motionloom.motion.motion import take as take_frames
from motionloom.motion.retarget import from_positions

_SPLITS = {
    "val": ("HumanEva", "MPI_HDM05", "MPIHDM05", "HDM05", "SFU", "MPI_mosh", "MPImosh", "MoSh"),
    "test": ("Transitions_mocap", "Transitionsmocap", "Transitions", "SSM_synced", "SSMsynced", "SSM"),
}
"""The split that AMASS itself proposes; subsets are called differently in its older and newer archives."""
_AMASS = ("amass_data", "amass", "AMASS", "AMASS_data")
_BABEL_FILES = {
    "train": ("train", "extra_train"),
    "val": ("val", "extra_val"),
    "test": ("test",),
}
_LEAD_IN = {"Eyes_Japan_Dataset": 60, "MPI_HDM05": 60, "TotalCapture": 20, "MPI_Limits": 20, "Transitions_mocap": 10}
"""Frames at 20 fps that HumanML3D drops at the start of a file before it counts."""
_FPS = 20.0


def amass(folder: Path) -> list[Take]:
    """Every motion of AMASS below a folder; its split by subset, as AMASS proposes.

    Raises:
        DataError: There is no AMASS file.
    """
    files = amass_files(folder)
    if not files:
        raise DataError(f"{folder}: no files named ..._poses.npz or ..._stageii.npz; unpack AMASS's archives there")
    return [
        Take(
            id=f"amass/{name.removesuffix('.npz')}",
            source="amass",
            licence=licences.AMASS,
            path=path,
            fps=None,
            unit=None,
            split=next((split for split, subsets in _SPLITS.items() if set(subsets) & set(path.parts)), "train"),
            labels={"subset": name.split("/")[0]},
            read="amass",
            valid=(*BODY, *HANDS),
        )
        for name, path in files.items()
    ]


def amass_files(folder: Path) -> dict[str, Path]:
    """AMASS's motions below a folder by their relative names; its files of body shapes are left out."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*.npz"))
        if path.stem.endswith(("_poses", "_stageii"))
    }


def _find_amass(folder: Path, hint: str) -> Path:
    found = next((folder / name for name in _AMASS if (folder / name).is_dir()), None)
    if found is None:
        raise DataError(f"{folder}: {_AMASS[0]} is missing; {hint}")
    return found


def _lookup(files: dict[str, Path], name: str) -> Path | None:
    """A file by the name an annotation gives it: SMPL-H or SMPL-X, with or without the archive's own folder."""
    for tail in (name, name.partition("/")[2]):
        for candidate in (tail, tail.replace("_poses.npz", "_stageii.npz")):
            if candidate in files:
                return files[candidate]
    return None


def babel(folder: Path) -> list[Take]:
    """The sequences of BABEL: ``train.json``, ``val.json`` ... anywhere below, and AMASS in ``amass_data``.

    The labels of a sequence describe it whole, those of spans their spans. Sequences of the test split have none.

    Raises:
        DataError: The JSON files or AMASS are missing, broken, or name motions that are not there.
    """
    found = {path.stem: path for path in sorted(folder.rglob("*.json")) if path.parent.name.startswith("babel")}
    found |= {path.stem: path for path in sorted(folder.glob("*.json"))}
    if not {"train", "val", "test"} & found.keys():
        raise DataError(f"{folder}: train.json, val.json, test.json are missing; unpack babel_v1.0_release there")
    files = amass_files(_find_amass(folder, "put AMASS's archives, unpacked, there"))
    takes, missing = [], []
    for split, names in _BABEL_FILES.items():
        for name in (name for name in names if name in found):
            for key, row in read_json(found[name], dict).items():
                where = f"{found[name]}: sequence {key!r}"
                if not isinstance(row, dict) or not isinstance(row.get("feat_p"), str):
                    raise DataError(f"{where} has no 'feat_p', the name of its motion")
                path = _lookup(files, row["feat_p"])
                if path is None:
                    missing.append(row["feat_p"])
                    continue
                takes.append(
                    Take(
                        id=f"babel/{name}-{key}",
                        source="babel",
                        licence=licences.BABEL,
                        path=path,
                        fps=None,
                        unit=None,
                        split=split,
                        labels={"sequence": key, "file": row["feat_p"]},
                        texts=_babel_texts(row, where),
                        read="amass",
                        valid=(*BODY, *HANDS),
                    )
                )
    if missing:
        raise DataError(f"{folder}: {len(missing)} motions that BABEL names are missing: {listed(missing)}")
    return takes


def _babel_texts(row: dict, where: str) -> tuple[Timed, ...]:
    """Labels of a sequence: each annotator's; of the cleaned and the raw label the raw, which says more."""
    found: dict[Timed, None] = {}
    for key in ("seq_ann", "seq_anns", "frame_ann", "frame_anns"):
        annotations = row.get(key) or []
        for annotation in annotations if isinstance(annotations, list) else [annotations]:
            labels = annotation.get("labels") if isinstance(annotation, dict) else None
            for label in labels or []:
                text = label.get("raw_label") or label.get("proc_label") if isinstance(label, dict) else None
                times = [label.get(name) for name in ("start_t", "end_t")] if isinstance(label, dict) else []
                if not isinstance(text, str) or not all(isinstance(time, int | float | None) for time in times):
                    raise DataError(f"{where}: a label of {key!r} has no 'raw_label', or times that are no numbers")
                if text.strip() and text.strip() != "transition":
                    start, stop = (None, None) if key.startswith("seq") else times
                    found[Timed(text.strip(), start, stop)] = None
    return tuple(found)


def humanml3d(folder: Path) -> list[Take]:
    """HumanML3D: from AMASS in ``amass_data`` where it is there (real rotations), else from ``new_joint_vecs``.

    Raises:
        DataError: Files are missing, or the index or a text is not in the published form.
    """
    need(folder, ("texts",), "unpack texts.zip of the HumanML3D repository there")
    splits = _splits(folder)
    rows: dict[str, dict[str, str]] = {}
    if any((folder / name).is_dir() for name in _AMASS):
        need(folder, ("index.csv",), "copy it from the HumanML3D repository")
        table = read_table(folder / "index.csv", ("source_path", "start_frame", "end_frame", "new_name"))
        rows = {row["new_name"].removesuffix(".npy"): row for row in table}
        files = amass_files(_find_amass(folder, ""))
    else:
        need(folder, ("new_joint_vecs",), "make it with the HumanML3D scripts, or put AMASS in amass_data")
        files = {path.stem: path for path in sorted((folder / "new_joint_vecs").glob("*.npy"))}
    takes, missing = [], []
    # Names with M are mirror images, which are made when a store is read.
    for name, split in splits.items():
        if name.startswith("M"):
            continue
        row = rows.get(name)
        path = _humanml3d_file(folder, files, row) if rows else files.get(name)
        text = folder / "texts" / f"{name}.txt"
        if path is None or not text.is_file():
            missing.append(row["source_path"] if row and path is None else f"{name}.npy" if path is None else text.name)
            continue
        takes.append(
            Take(
                id=f"humanml3d/{name}",
                source="humanml3d",
                licence=licences.HUMANML3D,
                path=path,
                fps=None,
                unit=None,
                split=split,
                labels={"name": name} | ({"file": row["source_path"]} if row else {}),
                read="humanml3d" if row else "",
                item="" if row is None else f"{row['source_path']}:{row['start_frame']}:{row['end_frame']}",
                texts=marked_texts(text),
                valid=BODY,
            )
        )
    if missing:
        raise DataError(f"{folder}: {len(missing)} files of HumanML3D are missing: {listed(missing)}")
    return takes


def _splits(folder: Path) -> dict[str, str]:
    need(folder, ("train.txt", "val.txt", "test.txt"), "copy them from the dataset's repository")
    return {name: split for split in ("train", "val", "test") for name in lines_of(folder / f"{split}.txt")}


def _humanml3d_file(folder: Path, files: dict[str, Path], row: dict[str, str] | None) -> Path | None:
    if row is None:
        return None
    name = row["source_path"].removeprefix("./").removeprefix("pose_data/")
    if "humanact12" in name:
        choices = (folder / "pose_data" / name, folder / "pose_data" / name.removeprefix("humanact12/"))
        return next((path for path in choices if path.is_file()), None)
    return _lookup(files, name.replace(".npy", ".npz"))


def marked_texts(path: Path) -> tuple[Timed, ...]:
    """Sentences of a file in HumanML3D's form: ``caption#tokens#from#to`` [s]; both times 0 mean all of it.

    Raises:
        DataError: A line has another form.
    """
    found = []
    for number, line in enumerate(lines_of(path), start=1):
        cells = line.split("#")
        try:
            times = [float(cell) for cell in cells[2:]]
        except ValueError:
            times = []
        if len(times) != 2:
            raise DataError(f"{path}:{number}: caption#tokens#from#to is needed; got {line[:60]!r}")
        start, stop = times
        # A few published lines have "nan" for a time that was not given.
        whole = not stop > start >= 0.0
        found.append(Timed(cells[0].strip(), None if whole else start, None if whole else stop))
    return tuple(found)


def read_amass_hands(item: Take) -> Motion:
    """An AMASS file with its fingers, where they were captured."""
    return read_amass(item.path, hands=True)


def read_humanml3d(item: Take) -> Motion:
    """A cut of an AMASS file (at its own frame rate) or of HumanAct12's joints, as HumanML3D's index counts frames."""
    source, first, last = item.item.rsplit(":", 2)
    start, stop = int(first), int(last)
    if item.path.suffix == ".npy":
        array = parse_npy(read_bytes(item.path), str(item.path))
        joints = torch.from_numpy(check_numbers(array, (None, array.shape[1], 3), str(item.path))).float()
        return from_positions(joints[start : stop if stop >= 0 else len(joints) + stop, :22], _FPS)
    motion = read_amass(item.path)
    stride = max(1, int(motion.fps / _FPS))
    lead = next((frames for subset, frames in _LEAD_IN.items() if subset in source), 0)
    begin = (start + lead) * stride
    end = (stop + lead) * stride if stop >= 0 else len(motion) + stop * stride
    frames = torch.arange(begin, min(end, len(motion)))
    if len(frames) == 0:
        raise DataError(f"{item.path}: frames {first} to {last} at 20 fps lie beyond its {motion.seconds:.2f} s")
    return take_frames(motion, frames)
