"""A made-up corpus of any size, for measuring what preparation costs and for trying things out without data.

The folder holds one file, ``synthetic.json``: ``{"takes": 100, "frames": 2000, "fps": 30.0, "seed": 0}``. Every take
is a smooth random motion of a walking pace, made when it is read; every fourth has moving fingers, every tenth shows
a body from the waist up only.
"""

import math
from pathlib import Path

import torch

from motionloom import licences
from motionloom.data.sources import Take, Timed
from motionloom.data.sources.common import BODY, HANDS, UPPER, need, read_json, split_of
from motionloom.errors import DataError
from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS

_MOST = {"takes": 10_000_000, "frames": 1_000_000}
_WAVES = 4


def takes(folder: Path) -> list[Take]:
    """The takes that ``synthetic.json`` asks for.

    Raises:
        DataError: The file is missing, or a value of it is missing or out of range.
    """
    need(folder, ("synthetic.json",), 'write {"takes": 100, "frames": 2000, "fps": 30.0, "seed": 0} into it')
    path = folder / "synthetic.json"
    table = read_json(path, dict)
    numbers = [table.get(name) for name in ("takes", "frames", "seed")]
    fps = table.get("fps", 30.0)
    if not all(isinstance(value, int) for value in numbers) or not isinstance(fps, int | float):
        raise DataError(f"{path}: takes, frames and seed are whole numbers, fps is a number; got {table}")
    count, frames, seed = (int(value or 0) for value in numbers)
    if not (1 <= count <= _MOST["takes"] and 2 <= frames <= _MOST["frames"] and 1 <= fps <= 240):
        raise DataError(
            f"{path}: takes 1 to {_MOST['takes']}, frames 2 to {_MOST['frames']}, fps 1 to 240 are possible"
        )
    return [
        Take(
            id=f"synthetic/{index:07d}",
            source="synthetic",
            licence=licences.SYNTHETIC,
            path=path,
            fps=float(fps),
            unit=None,
            split=split_of(f"synthetic {seed} {index}"),
            labels={"content": f"pace {index % 8}"},
            read="synthetic",
            item=f"{seed}:{index}:{frames}",
            texts=(Timed(f"a made-up person moves at pace {index % 8}"),),
            valid=UPPER if index % 10 == 9 else (*BODY, *HANDS) if index % 4 == 0 else BODY,
        )
        for index in range(count)
    ]


def read_synthetic(item: Take) -> Motion:
    """The motion of a take: joints turn as sums of slow sines, the root goes forward at a pace of its own."""
    seed, index, frames = (int(word) for word in item.item.split(":"))
    assert item.fps is not None
    generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
    body = CANONICAL_HANDS if index % 4 == 0 and index % 10 != 9 else CANONICAL
    rate = 0.2 + 1.3 * torch.rand(_WAVES, generator=generator)
    phase = 2 * math.pi * torch.rand(_WAVES, len(body), 3, generator=generator)
    time = torch.arange(frames)[:, None, None, None] / item.fps
    sines = torch.sin(2 * math.pi * rate[:, None, None] * time + phase).mean(1)
    turns = rot.from_axis_angle(0.5 * sines)
    turns[:, 0] = rot.from_axis_angle(0.1 * sines[:, 0])
    root = torch.zeros(frames, 3)
    root[:, 1] = CANONICAL.offsets[0, 1]
    root[:, 2] = (0.4 + 0.15 * (index % 8)) * time[:, 0, 0, 0]
    return Motion(body, turns, root, item.fps)
