"""Formats, tools, loops, reduced keys and sidecars: the tables and what is written by them."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import make
import numpy as np
import pytest
import rig_files
import torch

from motionloom.errors import MotionError, MotionFileError, RetargetError
from motionloom.motion import rotations as rot
from motionloom.motion.io import WRITERS, load, save
from motionloom.motion.io.glb_read import read_scene
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.retarget import retarget
from motionloom.motion.rigs.clips import pose_world
from motionloom.motion.rigs.deliver import FORMATS, SIDECAR, TOOLS, Delivery
from motionloom.motion.rigs.export import ON_CHARACTER
from motionloom.motion.rigs.facts import events_of, facts_of
from motionloom.motion.rigs.families import FINGER_BONES, REQUIRED, families, rank_families
from motionloom.motion.rigs.loops import closed
from motionloom.motion.rigs.names import renamed, spelled_as
from motionloom.motion.rigs.reduce import reduce_track
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS


def walking(frames: int = 60, **changes: object) -> Motion:
    source = Provenance(text="a person walks", licence="CC0-1.0", seed=3)
    motion = make.motion(frames, fps=30.0, size=0.12)
    floor = torch.tensor([0.0, float(motion.positions[:, :, 1].min()), 0.0])
    return motion.with_(provenance=source, root=motion.root - floor, **changes)


def test_the_table_of_formats_names_what_is_written() -> None:
    assert {entry.suffix for entry in FORMATS} == {*WRITERS, *ON_CHARACTER}
    for tool in TOOLS.values():
        assert set(tool.suffixes) <= {entry.suffix for entry in FORMATS}
        assert tool.how
        assert tool.names is None or tool.names in families()


def test_the_document_has_the_tables() -> None:
    text = (Path(__file__).parents[2] / "docs/tools.md").read_text("utf-8")
    for entry in FORMATS:
        row = f"| `{entry.suffix}` | {entry.title} | {entry.character} | {entry.holds} | {entry.opened_by} |"
        assert row in text
    for name, tool in TOOLS.items():
        assert f"| `{name}` | {' '.join(f'`{suffix}`' for suffix in tool.suffixes)} |" in text
        assert tool.how in text


@pytest.mark.parametrize("name", families())
def test_a_family_tells_its_own_names(name: str) -> None:
    family = families()[name]
    for which in (0, -1):
        spelled = {
            bone: names[which] for bone, names in family.spelled.items() if bone not in ("root", "spine", "neck")
        }
        listed = list(spelled.values())
        _, matches = rank_families(listed)[0]
        found = {bone: listed[places[0]] for bone, places in matches.items()}
        assert {bone: found.get(bone) for bone in REQUIRED} == {bone: spelled[bone] for bone in REQUIRED}


@pytest.mark.parametrize("dress", ["{}", "hero:{}", "Skeleton1_{}", "{}.001", "A|B|{}"])
@pytest.mark.parametrize("name", ["mixamo", "unreal", "rigify", "vroid", "biped", "mmd", "daz9"])
def test_names_are_told_under_prefixes_and_suffixes(name: str, dress: str) -> None:
    spelled = {
        b: n[0] for b, n in families()[name].spelled.items() if b not in FINGER_BONES and b not in ("spine", "neck")
    }
    listed = [dress.format(text) for text in spelled.values()]
    _, matches = rank_families(listed)[0]
    assert {bone: list(spelled)[matches[bone][0]] for bone in REQUIRED} == {bone: bone for bone in REQUIRED}


@pytest.mark.parametrize("name", ["mixamo", "unreal", "unity", "vrm", "rigify", "biped", "smpl", "soma", "xsens"])
def test_our_body_under_other_names_is_read_again(tmp_path: Path, name: str) -> None:
    motion = walking(10)
    save(renamed(motion, name), tmp_path / "clip.bvh", unit="cm")
    back = retarget(load(tmp_path / "clip.bvh", unit="cm"))
    assert float((back.positions - motion.positions).norm(dim=-1).mean()) < 0.03
    assert len(set(spelled_as(families()[name], CANONICAL.names))) == 22


def test_names_that_do_not_exist() -> None:
    with pytest.raises(RetargetError, match="there is no name family 'klingon'; known are acclaim"):
        renamed(walking(3), "klingon")
    with pytest.raises(RetargetError, match="has no name for"):
        spelled_as(families()["kinect"], CANONICAL_HANDS.names)


@pytest.mark.parametrize("seed", range(4))
def test_any_motion_becomes_a_loop(seed: int) -> None:
    motion = make.motion(90, seed=seed, fps=30.0)
    cycle, seam = closed(motion)
    assert seam < 2.0
    first, last = cycle.rotations[0, 1:], cycle.rotations[-1, 1:]
    assert make.degrees_apart(first, last) < 2.0
    assert abs(float(cycle.root[0, 1] - cycle.root[-1, 1])) < 1e-4
    # No jump anywhere: a frame's step is never far above those of the motion itself.
    steps = rot.angle_between(cycle.rotations[1:, 1:], cycle.rotations[:-1, 1:]).amax(1)
    usual = rot.angle_between(motion.rotations[1:, 1:], motion.rotations[:-1, 1:]).amax(1)
    assert float(steps.max()) < 2.0 * float(usual.max())
    facts = facts_of(cycle, loop=True)
    assert facts["cycle_frames"] == len(cycle) - 1


def test_a_loop_is_closed_by_its_first_pose() -> None:
    """A motion whose last frame is one step before its first gets that step."""
    frames = 40
    time = torch.arange(frames) / frames * 2 * torch.pi
    rotations = rot.identity(frames, 22)
    rotations[:, 4] = rot.about("X", 0.5 + 0.4 * time.sin())
    rotations[:, 5] = rot.about("X", 0.5 - 0.4 * time.sin())
    rotations[:, 16] = rot.about("Z", -1.2 + 0.3 * time.cos())
    root = torch.stack((torch.zeros(frames), torch.full((frames,), 0.93), torch.arange(frames) * 0.03), 1)
    cycle, seam = closed(Motion(CANONICAL, rotations, root, 30.0))
    assert len(cycle) == frames + 1
    assert seam < 0.01
    assert facts_of(cycle, loop=True)["travel"]["z"] == pytest.approx(frames * 0.03, abs=1e-4)
    with pytest.raises(MotionError, match=r"a loop of 0\.10 s"):
        closed(make.motion(3, fps=30.0))


@pytest.mark.parametrize("degrees", [0.25, 0.5, 2.0])
def test_reduced_keys_stay_within_the_tolerance(tmp_path: Path, degrees: float) -> None:
    motion = make.motion(120, fps=30.0, size=0.3)
    tracks = rot.continuous(motion.rotations.double()).numpy()
    kept = sum(len(reduce_track(tracks[:, j], "rotation", degrees=degrees, fps=30.0).frames) for j in range(22))
    assert kept < {0.25: 0.4, 0.5: 0.3, 2.0: 0.2}[degrees] * 22 * 120
    Delivery(reduce=degrees).write(motion, tmp_path / "clip.glb")
    back = load(tmp_path / "clip.glb")
    assert len(back) == 120
    for at, name in enumerate(back.skeleton.names):
        found, true = back.rotations[:, at].double(), motion.rotations[:, CANONICAL.names.index(name)].double()
        # A joint's own error and that of its parent both count in what it is seen to do.
        assert float(torch.rad2deg(rot.angle_between(found, true)).max()) < 2.05 * degrees


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("on", [False, True])
def test_every_tool_gets_what_it_wants(tmp_path: Path, tool: str, on: bool) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(resources.files("motionloom.motion.rigs").joinpath("clip.schema.json").read_text("utf-8"))
    hero = tmp_path / "hero.glb"
    rig_files.write(rig_files.twelve()["manny"], hero)
    delivery = Delivery.of(tool, on=hero if on else None, loop=True)
    out = tmp_path / f"clip{TOOLS[tool].suffixes[0]}"
    delivery.check(out)
    facts, lines = delivery.write(walking(), out)
    beside = json.loads((tmp_path / f"clip{SIDECAR}").read_text("utf-8"))
    jsonschema.validate(beside, schema)
    assert beside == {"file": out.name, **json.loads(json.dumps(facts))}
    assert (beside["text"], beside["licence"], beside["seed"], beside["loop"]) == ("a person walks", "CC0-1.0", 3, True)
    assert any(TOOLS[tool].how in line for line in lines)
    back = load(out)
    assert back.fps == 30.0
    assert len(back) == facts["frames"]
    if tool == "unreal":
        from motionloom.motion.rigs.rig import read_scene_of

        names = read_scene_of(out).names
        assert {"root", "pelvis", "thigh_l"} <= set(names)
    if on:
        assert facts["certificate"]["verdict"] == "pass"


def test_in_place_clips_do_not_drift(tmp_path: Path) -> None:
    for reduce in (0.0, 0.5):
        Delivery(in_place=True, reduce=reduce).write(walking(), tmp_path / "clip.glb")
        scene = read_scene(tmp_path / "clip.glb")
        world = pose_world(scene, scene.clips[-1], np.linspace(0, 59 / 30, 100))
        hips = [scene.names.index(name) for name in ("left_hip", "right_hip")]
        centre = world[:, hips][..., :3, 3].mean(1)[:, [0, 2]]
        assert 1000 * np.linalg.norm(centre - centre[0], axis=1).max() < 1.0


def test_what_cannot_be_is_refused_before_any_work(tmp_path: Path) -> None:
    hero = tmp_path / "hero.glb"
    rig_files.write(rig_files.twelve()["cmu"], hero)
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"tool": "maya"}, "a.fbx", "no such tool; known are blender, unity"),
        ({"tool": "unity"}, "a.glb", r"--for unity reads \.fbx; name it so"),
        ({"on": hero}, "a.npy", r"a motion on a character is written as \.glb"),
        ({"on": hero}, "hero.glb", "is the character itself"),
        ({"on": hero}, "nowhere/a.glb", "does not exist; make it first"),
        ({"on": hero, "root_bone": "root"}, "a.glb", "has no bone above the hips"),
        ({"on": hero}, "a.bvh", "is written on the hierarchy of a BVH"),
    ]
    for options, out, message in cases:
        with pytest.raises((MotionFileError, RetargetError), match=message):
            Delivery.of(options.pop("tool", None), **options).check(tmp_path / out)
    with pytest.raises(MotionFileError, match="holds every frame; leave out --reduce-keys"):
        Delivery(reduce=1.0).write(walking(), tmp_path / "a.bvh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hero.glb"]


def test_events_are_where_feet_come_down_and_go_up() -> None:
    contacts = np.zeros((10, 4), bool)
    contacts[2:6, 0] = contacts[4:8, 1] = contacts[:3, 3] = True
    assert [(event["event"], event["frame"]) for event in events_of(contacts, 10.0)] == [
        ("left_foot_down", 2),
        ("right_foot_up", 3),
        ("left_foot_up", 8),
    ]
