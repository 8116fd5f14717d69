"""Files as other tools see them: the Khronos glTF validator and Blender.

Both are optional. ``MOTIONLOOM_BPY`` names a Python that has ``bpy`` (else ``.venv-bpy/bin/python``),
``MOTIONLOOM_GLTF_VALIDATOR`` the folder of the npm package (else ``node_modules/gltf-validator``).
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from motionloom.motion import rotations as rot
from motionloom.motion.io import load, save
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.skeleton import CANONICAL, Skeleton

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BPY = Path(os.environ.get("MOTIONLOOM_BPY", ROOT / ".venv-bpy/bin/python"))
VALIDATOR = Path(os.environ.get("MOTIONLOOM_GLTF_VALIDATOR", ROOT / "node_modules/gltf-validator"))
OTHER = ROOT.parent / "shared/data/formats/bvh_toolbox/tests/example_files/test_freebvh.bvh"

needs_bpy = pytest.mark.skipif(
    not BPY.is_file(), reason=f"no Python with bpy: MOTIONLOOM_BPY is not set and {BPY} is not there"
)
needs_validator = pytest.mark.skipif(
    shutil.which("node") is None or not VALIDATOR.is_dir(),
    reason=f"no node, or no gltf-validator at {VALIDATOR}",
)


def canonical(frames: int = 40, fps: float = 30.0) -> Motion:
    """The canonical body: every joint swings, the root walks, turns round and climbs."""
    generator = torch.Generator().manual_seed(0)
    step = torch.arange(frames)[:, None]
    swing = 0.5 * torch.randn(1, 22, 3, generator=generator)
    turns = rot.from_axis_angle(swing * (0.2 * step + torch.arange(22)).sin()[..., None])
    turns[:, 0] = rot.multiply(rot.about("Y", 0.2 * step[:, 0]), turns[:, 0])
    root = torch.tensor([0.0, 0.93, 0.0]) + step * torch.tensor([0.003, 0.002, 0.02])
    contacts = torch.rand(frames, 4, generator=generator) > 0.5
    source = Provenance(text="a person turns", licence="CC0-1.0", seed=3)
    return Motion(CANONICAL, turns, root, fps, contacts=contacts, provenance=source)


def motions() -> dict[str, Motion]:
    long_chain = tuple(f"j{i}" for i in range(300))
    found = {
        "canonical": canonical(),
        "film rate": canonical(fps=29.97),
        "one frame": canonical(frames=1),
        "one joint": Motion(Skeleton(("a",), (-1,), torch.zeros(1, 3)), rot.identity(3, 1), torch.zeros(3, 3), 10.0),
        "300 joints": Motion(
            Skeleton(long_chain, (-1, *(0,) * 299), torch.rand(300, 3)),
            rot.identity(2, 300),
            torch.zeros(2, 3),
            24.0,
        ),
    }
    return found | ({"mixamo": load(OTHER)} if OTHER.is_file() else {})


@needs_validator
def test_glb_passes_the_khronos_validator(tmp_path: Path) -> None:
    """No error, no warning, not even a hint, but for the one that Blender's own files have.

    A skinned mesh that hangs on its armature is what keeps three.js from leaving it out once it has walked away.
    """
    for name, motion in motions().items():
        save(motion, tmp_path / f"{name}.glb")
    files = sorted(tmp_path.glob("*.glb"))
    command = ["node", HERE / "validate_glb.cjs", VALIDATOR, *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(reports) == len(files) >= 5
    for file, report in zip(files, reports, strict=True):
        others = [entry for entry in report["messages"] if entry["code"] != "NODE_SKINNED_MESH_NON_ROOT"]
        assert (file.name, others) == (file.name, [])


def in_blender(path: Path, fps: float, frames: list[int]) -> dict[str, Any]:
    command = [str(BPY), str(HERE / "blender_positions.py"), str(path), str(fps), *map(str, frames)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(lines[0].removeprefix("RESULT "))


@needs_bpy
@pytest.mark.parametrize("suffix", ["glb", "bvh"])
@pytest.mark.parametrize("name", ["canonical", "film rate", "mixamo"])
def test_blender_sees_the_same_joints(tmp_path: Path, name: str, suffix: str) -> None:
    """All bones come, all move, and at five frames every joint lies within 1 mm of ours."""
    if name not in motions():
        pytest.skip(f"{OTHER} is not there")
    motion = motions()[name]
    path = tmp_path / f"clip.{suffix}"
    save(motion, path)
    frames = [round(step * (len(motion) - 1) / 4) for step in range(5)]
    seen = in_blender(path, motion.fps, frames)
    # Of a BVH's end sites Blender makes no bones.
    ends = {n for n in motion.skeleton.names if n.endswith("_end")} if suffix == "bvh" else set()
    assert set(seen["bones"]) == set(motion.skeleton.names) - ends
    parents = {
        n: motion.skeleton.names[p] if p >= 0 else None
        for n, p in zip(motion.skeleton.names, motion.skeleton.parents, strict=True)
    }
    assert dict(zip(seen["bones"], seen["parents"], strict=True)) == {bone: parents[bone] for bone in seen["bones"]}
    there = torch.tensor(seen["positions"])
    ours = motion.positions[frames][:, [motion.skeleton.names.index(bone) for bone in seen["bones"]]]
    error = (there - ours).norm(dim=-1)
    print(f"{name}.{suffix}: {len(seen['bones'])} bones, largest error {1000 * float(error.max()):.4f} mm")
    assert float(error.max()) < 1e-3
    assert float((there - there[:1]).norm(dim=-1).amax(0).min()) > 0.01
    assert len(seen["actions"]) == 1
    if suffix == "glb":
        assert seen["skinned"] == 1
