"""Motions on characters, FBX, USD and VRMA as tools that are not ours see them; each is optional.

``MOTIONLOOM_BPY``, ``MOTIONLOOM_USD``, ``MOTIONLOOM_UFBX`` name Pythons that have bpy, usd-core and ufbx (else
``.venv-bpy/bin/python``, ``.venv-interop/bin/python``), ``MOTIONLOOM_NODE_MODULES`` a folder with three,
@pixiv/three-vrm, @pixiv/three-vrm-animation and gltf-validator (else ``node_modules``).
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import make
import numpy as np
import pytest
import rig_files

from motionloom.motion.io import save
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.rigs.actor import actor_on
from motionloom.motion.rigs.onto import Retargeted, retarget_to
from motionloom.motion.rigs.scene import matrices, to_world

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BPY = Path(os.environ.get("MOTIONLOOM_BPY", ROOT / ".venv-bpy/bin/python"))
USD = Path(os.environ.get("MOTIONLOOM_USD", ROOT / ".venv-interop/bin/python"))
UFBX = Path(os.environ.get("MOTIONLOOM_UFBX", ROOT / ".venv-interop/bin/python"))
MODULES = Path(os.environ.get("MOTIONLOOM_NODE_MODULES", ROOT / "node_modules"))
FRAMES = (0, 11, 29)
MILLIMETRE = 1e-3


def needs(path: Path, what: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not path.exists(), reason=f"no {what}: {path} is not there")


needs_three = pytest.mark.skipif(
    shutil.which("node") is None or not (MODULES / "three").is_dir(), reason=f"no node, or no three in {MODULES}"
)


def result(command: list[Any]) -> Any:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stdout[-1500:] + done.stderr[-1500:]
    return json.loads(lines[0].removeprefix("RESULT "))


def walk() -> Motion:
    motion = make.motion(30, fps=30.0, size=0.2)
    return motion.with_(provenance=Provenance(text="a person walks", licence="CC0-1.0"))


def hero(tmp_path: Path, name: str = "mixamo") -> Retargeted:
    rig_files.write(rig_files.twelve()[name], tmp_path / "hero.glb")
    return retarget_to(walk(), tmp_path / "hero.glb")


def truth(done: Retargeted) -> dict[str, np.ndarray]:
    """Where the joints of a character are, (T, 3) each [m], through the nodes of its own file."""
    scene = done.rig.scene
    count, frames = len(scene.names), len(done)
    move = np.broadcast_to(scene.translations, (frames, count, 3)).copy()
    turn = np.broadcast_to(scene.rotations, (frames, count, 4)).copy()
    for node, values in done.translations.items():
        move[:, node] = values
    for node, values in done.rotations.items():
        turn[:, node] = values
    size = np.broadcast_to(scene.scales, (frames, count, 3)).copy()
    world = to_world(matrices(move, turn, size), scene.parents)
    joints = {joint for skin in scene.skins for joint in skin}
    return {scene.names[node]: world[:, node, :3, 3] for node in joints}


def compare(seen: list[dict[str, list[float]]], done: Retargeted, scale: float = 1.0, rename: Any = None) -> None:
    ours = truth(done)
    for at, frame in enumerate(FRAMES):
        for name, places in ours.items():
            label = rename(name) if rename else name
            assert label in seen[at], (label, sorted(seen[at])[:5])
            assert np.linalg.norm(np.array(seen[at][label]) * scale - places[frame]) < MILLIMETRE, (name, frame)


@needs(UFBX, "Python with ufbx")
@pytest.mark.parametrize("name", ["mixamo", "manny", "vrm"])
def test_ufbx_sees_the_joints_of_an_fbx(tmp_path: Path, name: str) -> None:
    done = hero(tmp_path, name)
    done.save(tmp_path / "clip.fbx", name="Walk")
    seen = result([UFBX, HERE / "fbx_positions.py", tmp_path / "clip.fbx", *(frame / 30 for frame in FRAMES)])
    assert (seen["name"], seen["fps"], seen["metres"], seen["skins"]) == ("Walk", 30.0, 0.01, 1)
    assert seen["end"] == pytest.approx(29 / 30, abs=1e-6)
    compare(seen["frames"], done, 0.01)


@needs(USD, "Python with usd-core")
@pytest.mark.parametrize("suffix", [".usda", ".usdz"])
def test_usd_core_sees_the_joints_of_usd(tmp_path: Path, suffix: str) -> None:
    done = hero(tmp_path)
    done.save(tmp_path / f"clip{suffix}", name="Walk")
    seen = result([USD, HERE / "usd_positions.py", tmp_path / f"clip{suffix}", *FRAMES])
    facts = (seen["fps"], seen["end"], seen["metres"], seen["up"], seen["clip"], seen["skinned"])
    assert facts == (30.0, 29.0, 1.0, "Y", "Walk", 1)
    compare(seen["frames"], done, rename=lambda name: name.replace(":", "_"))


@needs_three
@pytest.mark.parametrize("reduce", [0.0, 0.5])
def test_three_sees_the_joints_of_a_glb(tmp_path: Path, reduce: float) -> None:
    from motionloom.motion.rigs.export import save_on

    done = hero(tmp_path, "manny")
    save_on(done, tmp_path / "clip.glb", name="Walk", reduce=reduce)
    times = [frame / 30 for frame in FRAMES]
    seen = result(["node", HERE / "three_positions.mjs", MODULES, "gltf", tmp_path / "clip.glb", *times])
    assert seen["name"] == "Walk"
    assert seen["duration"] == pytest.approx(29 / 30, abs=1e-6)
    if reduce == 0:
        compare(seen["frames"], done)


@needs_three
def test_three_sees_the_joints_of_an_fbx(tmp_path: Path) -> None:
    done = hero(tmp_path, "manny")
    done.save(tmp_path / "clip.fbx", name="Walk")
    times = [frame / 30 for frame in FRAMES]
    seen = result(["node", HERE / "three_positions.mjs", MODULES, "fbx", tmp_path / "clip.fbx", *times])
    assert seen["name"] == "Walk"
    compare(seen["frames"], done, 0.01)


def avatar(path: Path, size: float) -> None:
    """A VRM 1.0 avatar of some size."""
    made = rig_files.Made(rig_files.names_of("vrm"), along="world", size=size)
    rig_files.write(made, path)
    tree, data = rig_files.load_tree(path)
    bones = {n["name"]: {"node": at} for at, n in enumerate(tree["nodes"]) if n.get("name") in made.names.values()}
    meta = {"name": "avatar", "authors": ["tests"], "licenseUrl": "https://vrm.dev/licenses/1.0/"}
    tree["extensionsUsed"] = ["VRMC_vrm"]
    tree["extensions"] = {"VRMC_vrm": {"specVersion": "1.0", "meta": meta, "humanoid": {"humanBones": bones}}}
    rig_files.save(tree, data, path)


@needs_three
def test_three_vrm_plays_a_vrma_on_two_avatars_of_different_height(tmp_path: Path) -> None:
    motion = walk()
    save(motion, tmp_path / "clip.vrma")
    sizes = (0.8, 1.3)
    for size in sizes:
        avatar(tmp_path / f"{size}.vrm", size)
    times = [frame / 30 for frame in FRAMES]
    command = ["node", HERE / "three_positions.mjs", MODULES, "vrma", tmp_path / "clip.vrma", *times, "--"]
    for size, seen in zip(sizes, result([*command, *(tmp_path / f"{size}.vrm" for size in sizes)]), strict=True):
        assert seen["duration"] == pytest.approx(29 / 30, abs=1e-6)
        joints = dict(zip(rig_files.names_of("vrm").values(), range(22), strict=True))
        for frame, places in zip(FRAMES, seen["frames"], strict=True):
            ours = motion.positions[frame].double().numpy() * size
            for bone, joint in joints.items():
                assert np.linalg.norm(np.array(places[bone]) - ours[joint]) < MILLIMETRE, (size, bone, frame)


@needs(BPY, "Python with bpy")
@pytest.mark.parametrize("suffix", [".glb", ".fbx", ".usda"])
def test_blender_sees_the_joints_of_a_character(tmp_path: Path, suffix: str) -> None:
    done = hero(tmp_path, "rigify")
    done.save(tmp_path / f"clip{suffix}", name="Walk")
    seen = result([BPY, HERE / "blender_positions.py", tmp_path / f"clip{suffix}", 30, *FRAMES])
    assert any("Walk" in action for action in seen["actions"])
    frames = [dict(zip(seen["bones"], places, strict=True)) for places in seen["positions"]]
    compare(frames, done, rename=(lambda name: name.replace(".", "_").replace("-", "_")) if suffix == ".usda" else None)


@pytest.mark.skipif(
    shutil.which("node") is None or not (MODULES / "gltf-validator").is_dir(), reason="no node, or no gltf-validator"
)
def test_the_khronos_validator_finds_no_error(tmp_path: Path) -> None:
    from motionloom.motion.rigs.export import save_on

    files = []
    for name in rig_files.twelve():
        done = hero(tmp_path, name)
        files.append(tmp_path / f"{name}.glb")
        save_on(done, files[-1], name="Walk", reduce=0.5 if name in ("mixamo", "vrm") else 0.0)
    save(walk(), tmp_path / "clip.vrma")
    command = ["node", HERE / "validate_glb.cjs", MODULES / "gltf-validator", *files, tmp_path / "clip.vrma"]
    done_ = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, check=True)
    for line in done_.stdout.splitlines():
        assert json.loads(line)["numErrors"] == 0, line[:500]


def test_an_actor_is_where_its_character_is(tmp_path: Path) -> None:
    """What FBX and USD are written from, before any other tool looks at it."""
    done = hero(tmp_path)
    actor, ours = actor_on(done), truth(done)
    world = to_world(matrices(actor.translations, actor.rotations, np.ones_like(actor.translations)), actor.parents)
    for joint, name in enumerate(actor.joints):
        assert np.abs(world[:, joint, :3, 3] - ours[name]).max() < 1e-6
