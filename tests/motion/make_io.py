"""Motions and files for the tests of motion/io."""

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st

from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.skeleton import CANONICAL, Skeleton


def motion(frames: int = 12, joints: int = 6, seed: int = 0, fps: float = 30.0, wild: bool = False) -> Motion:
    """A random tree in random (wild: any; else smooth) motion, with all optional fields."""
    generator = torch.Generator().manual_seed(seed)
    parents = [-1, *(int(torch.randint(0, joint, (), generator=generator)) for joint in range(1, joints))]
    offsets = 0.3 * torch.randn(joints, 3, generator=generator)
    skeleton = Skeleton(tuple(f"joint {index}" for index in range(joints)), tuple(parents), offsets)
    return Motion(
        skeleton,
        rotations(frames, joints, seed, wild),
        torch.randn(frames, 3, generator=generator),
        fps,
        valid=torch.rand(frames, 10, generator=generator) > 0.5,
        contacts=torch.rand(frames, 4, generator=generator) > 0.5,
        provenance=Provenance("clip.bvh", "CC0-1.0", 'a person é "walks"', 7, "mmm 1", ("one", "two")),
    )


def rotations(frames: int, joints: int, seed: int = 0, wild: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed + 1)
    if wild:
        return rot.normalize(torch.randn(frames, joints, 4, generator=generator))
    swing = torch.randn(1, joints, 3, generator=generator)
    phase = 0.1 * torch.arange(frames)[:, None, None] + torch.arange(joints)[:, None]
    return rot.from_axis_angle(swing * phase.sin())


def canonical(frames: int = 20, seed: int = 0, fps: float = 30.0) -> Motion:
    """The canonical body, moving every joint and walking ahead."""
    root = torch.tensor([0.0, 0.93, 0.0]) + torch.arange(frames)[:, None] * torch.tensor([0.0, 0.0, 0.02])
    # Small swings: the body stays on its feet.
    turns = rot.from_axis_angle(0.1 * rot.to_axis_angle(rotations(frames, len(CANONICAL), seed)))
    return Motion(CANONICAL, turns, root, fps)


ODD = (
    "nan",
    "-inf",
    "1e400",
    "{",
    "}",
    "0x1f",
    "1_0",
    "-",
    "3",
    "JOINT",
    "\u0663",
    "1,5",
    "9" * 400,
    "begin",
    "end",
)


def damage(text: str, draw: Callable[..., Any]) -> bytes:
    """Cut, drop, repeat, scribble over or change a word of the lines of a text file, as ``draw`` has it."""
    lines = text.split("\n")
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(lines) - 1, 0)))
        action = draw(st.sampled_from(["cut", "drop", "repeat", "scribble", "word"]))
        if action == "cut":
            lines = lines[:place]
        elif action == "drop":
            del lines[place : place + 1]
        elif action == "repeat":
            lines[place:place] = lines[place : place + 2]
        elif action == "scribble":
            lines[place : place + 1] = [draw(st.text(max_size=30))]
        elif lines:
            mark = "," if "," in lines[place] else " "
            words = lines[place].split(mark)
            words[draw(st.integers(0, len(words) - 1))] = draw(st.sampled_from(ODD))
            lines[place] = mark.join(words)
    return "\n".join(lines).encode("utf-8", errors="surrogatepass")


BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Knee
  {
    OFFSET 0 -40 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 -40 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.0333333
0 80 0 0 0 0 0 0 0
0 80 10 0 0 90 0 90 0
"""
"""A leg of 0.8 m: in frame 1 the body has turned left by 90 degrees and bent the knee by 90 degrees."""

ASF = """:version 1.10
:name test
:units
  mass 1.0
  length 1.0
  angle deg
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name thigh
    direction 0 -1 0
    length 20
    axis 0 0 0 XYZ
    dof rx ry rz
    limits (-160 20)
           (-70 70)
           (-60 70)
  end
  begin
    id 2
    name shin
    direction 0 -1 0
    length 10
    axis 0 90 0 XYZ
    dof rx
  end
:hierarchy
  begin
    root thigh
    thigh shin
  end
"""
AMC = """#!OML
:FULLY-SPECIFIED
:DEGREES
1
root 0 30 0 0 0 0
thigh 0 0 0
shin 0
2
root 0 30 10 0 90 0
thigh 0 0 0
shin 90
"""
