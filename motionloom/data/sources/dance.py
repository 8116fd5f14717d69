"""Dances with their music: AIST++ and FineDance.

AIST++ (Li et al., ICCV 2021; annotations CC BY 4.0): SMPL pickles ``motions/<name>.pkl`` at 60 fps, Y up, positions
in units of ``smpl_scaling``; the fifth word of a name is its music. FineDance (Li et al., ICCV 2023):
``motion/NNN.npy`` at 30 fps, root position and 52 rotations as the first two rows of their matrices, with
``music_wav`` and ``label_json`` of the same number.
"""

from pathlib import Path

import numpy as np
import torch

from motionloom import licences
from motionloom.data.formats.pickle import read_pickle
from motionloom.data.sources import Media, Take, Timed
from motionloom.data.sources.common import BODY, HANDS, lines_of, listed, need, read_json
from motionloom.data.sources.smpl import rotated_motion, smpl_motion
from motionloom.errors import DataError
from motionloom.motion import rotations as rot
from motionloom.motion.files import check_numbers, parse_npy, read_bytes
from motionloom.motion.motion import Motion

_AIST_FPS, _FINEDANCE_FPS = 60.0, 30.0
_SOUND = (".wav", ".mp3", ".flac", ".ogg")
_GENRES = {
    "BR": "break dance",
    "PO": "popping",
    "LO": "locking",
    "MH": "middle hip-hop",
    "LH": "LA style hip-hop",
    "HO": "house dance",
    "WA": "waacking",
    "KR": "krump",
    "JS": "street jazz",
    "JB": "ballet jazz",
}
_SITUATIONS = {"BM": "basic", "FM": "advanced"}
# FineDance's split by genre, as its repository lists it; the second list is left out there.
_FINE_TEST = frozenset(
    (63, 132, 143, 36, 98, 198, 130, 12, 211, 193, 179, 65, 137, 161, 92, 120, 37, 109, 204, 144)
)  # fmt: skip
_FINE_LEFT_OUT = frozenset((116, 117, 118, 119, 120, 121, 122, 123, 130, 202))


def aist(folder: Path) -> list[Take]:
    """The dances of AIST++ with its split "crossmodal"; music ``mBR0.wav`` (or mp3) anywhere below the folder.

    Sequences on the ignore list, and those outside the split (they share music or choreography with held-out
    ones), are refused. Without any music files the dances are taken without music.

    Raises:
        DataError: Motions, splits or some of the music are missing, or a motion has another name.
    """
    need(folder, ("motions", "splits"), "unpack AIST++'s motions.zip and splits.zip there")
    files = {path.stem: path for path in sorted((folder / "motions").glob("*.pkl"))}
    names = {split: folder / "splits" / f"crossmodal_{split}.txt" for split in ("train", "val", "test")}
    need(folder, [f"splits/{path.name}" for path in names.values()], "unpack AIST++'s splits.zip there")
    splits = {name: split for split, path in names.items() for name in lines_of(path)}
    missing = sorted(splits.keys() - files.keys())
    if missing:
        raise DataError(f"{folder}: {len(missing)} motions of the split are missing: {listed(missing)}")
    ignored = set(lines_of(folder / "ignore_list.txt")) if (folder / "ignore_list.txt").is_file() else set()
    words = {name: name.split("_") for name in files}
    odd = [name for name, parts in words.items() if len(parts) != 6 or parts[0][1:] not in _GENRES]
    if odd:
        raise DataError(f"{folder}/motions/{odd[0]}.pkl: the name is not gBR_sBM_cAll_d04_mBR0_ch01")
    music = _sounds(folder, {parts[4] for parts in words.values()}, "music")
    takes = []
    for name, path in files.items():
        genre, situation, _, dancer, piece, choreography = words[name]
        refuse = "" if name in splits else "in no part of the crossmodal split: it shares music or choreography"
        takes.append(
            Take(
                id=f"aist/{name}",
                source="aist",
                licence=licences.AIST,
                path=path,
                fps=_AIST_FPS,
                unit=None,
                split=splits.get(name, "train"),
                labels={
                    "genre": _GENRES[genre[1:]],
                    "level": _SITUATIONS.get(situation[1:], situation),
                    "dancer": dancer,
                    "piece": piece,
                    "choreography": choreography,
                },
                refuse="on AIST++'s list of damaged reconstructions" if name in ignored else refuse,
                read="aist",
                texts=(Timed(f"a person dances {_GENRES[genre[1:]]}"),),
                music=music.get(piece),
                valid=BODY,
            )
        )
    return takes


def _sounds(folder: Path, names: set[str], what: str) -> dict[str, Media]:
    """Sound files of those names anywhere below a folder: all of them, or none.

    Raises:
        DataError: Some are there and others are not.
    """
    found = {
        path.stem: Media(path.relative_to(folder).as_posix())
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in _SOUND and path.stem in names
    }
    missing = sorted(names - found.keys())
    if found and missing:
        raise DataError(f"{folder}: {len(missing)} files of {what} are missing: {listed(missing)} (wav or mp3)")
    return found


def read_aist(item: Take) -> Motion:
    """An AIST++ pickle: ``smpl_poses`` (T, 72), ``smpl_trans`` (T, 3) in units of ``smpl_scaling``."""
    data = read_pickle(item.path)
    arrays = [data.get(f"smpl_{name}") if isinstance(data, dict) else None for name in ("poses", "trans", "scaling")]
    poses, trans, scaling = arrays
    if (
        not isinstance(poses, np.ndarray)
        or not isinstance(trans, np.ndarray)
        or scaling is None
        or np.size(scaling) != 1
    ):
        raise DataError(f"{item.path}: smpl_poses, smpl_trans and smpl_scaling are needed, as AIST++ has them")
    scale = float(np.asarray(scaling, dtype=np.float64).reshape(-1)[0])
    if not 1e-3 < scale < 1e6:
        raise DataError(f"{item.path}: smpl_scaling is {scale}; a positive number is needed")
    return smpl_motion(poses, trans / scale, _AIST_FPS, "y", str(item.path))


def finedance(folder: Path) -> list[Take]:
    """The dances of FineDance with its split by genre.

    Raises:
        DataError: Motions, labels or music are missing.
    """
    need(folder, ("motion", "label_json", "music_wav"), "unpack FineDance there")
    files = {path.stem: path for path in sorted((folder / "motion").glob("*.npy")) if path.stem.isdigit()}
    if not files:
        raise DataError(f"{folder}/motion: no files named 001.npy; unpack FineDance there")
    need(folder, (f"label_json/{name}.json" for name in files), "unpack all of FineDance")
    need(folder, (f"music_wav/{name}.wav" for name in files), "unpack all of FineDance")
    return [_finedance_take(folder, name, path) for name, path in files.items()]


def _finedance_take(folder: Path, name: str, path: Path) -> Take:
    labels = read_json(folder / "label_json" / f"{name}.json", dict)
    words = {key: value for key in ("name", "style1", "style2") if isinstance(value := labels.get(key), str)}
    style = " ".join(words.get("style2", words.get("style1", "")).split())
    number = int(name)
    return Take(
        id=f"finedance/{name}",
        source="finedance",
        licence=licences.FINEDANCE,
        path=path,
        fps=_FINEDANCE_FPS,
        unit=None,
        split="test" if number in _FINE_TEST else "train",
        labels=words,
        refuse="left out of FineDance's own split" if number in _FINE_LEFT_OUT else "",
        read="finedance",
        texts=(Timed(f"a person dances {style}" if style else "a person dances"),),
        music=Media(f"music_wav/{name}.wav"),
        valid=(*BODY, *HANDS),
    )


def read_finedance(item: Take) -> Motion:
    """A FineDance array: (T, 315), or (T, 319) with four contacts before it."""
    where = str(item.path)
    array = parse_npy(read_bytes(item.path), where)
    if array.ndim != 2 or array.shape[1] not in (315, 319):
        raise DataError(f"{where}: shape {array.shape}; 315 numbers a frame (position, 52 rotations) are needed")
    values = torch.from_numpy(check_numbers(array, (None, array.shape[1]), where))[:, -315:]
    rows = values[:, 3:].unflatten(1, (52, 2, 3))
    first = rot.normalize(rows[..., 0, :])
    second = rows[..., 1, :] - (first * rows[..., 1, :]).sum(-1, keepdim=True) * first
    if float(torch.minimum(rows[..., 0, :].norm(dim=-1), second.norm(dim=-1)).min()) < 1e-3:
        raise DataError(f"{where}: six numbers of a rotation are no two directions; is this FineDance's motion?")
    second = rot.normalize(second)
    matrices = torch.stack((first, second, torch.linalg.cross(first, second)), dim=-2)
    return rotated_motion(rot.from_matrix(matrices), values[:, :3], _FINEDANCE_FPS, "seen", where)
