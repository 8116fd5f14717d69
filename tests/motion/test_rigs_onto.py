"""Motions on characters: twelve rigs made here, read back by arithmetic of the tests' own."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import make
import numpy as np
import pytest
import rig_files
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.errors import MotionFileError, RetargetError
from motionloom.motion.io import load, save
from motionloom.motion.motion import Motion
from motionloom.motion.rigs.map_file import read_map_file
from motionloom.motion.rigs.onto import canonical, retarget_to
from motionloom.motion.rigs.rig import read_rig, read_scene_of
from motionloom.motion.skeleton import CANONICAL

TWELVE = rig_files.twelve()
LIMBS = [
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
]


def standing(frames: int = 40, seed: int = 0) -> Motion:
    """A motion whose legs move little enough that feet stand."""
    motion = make.motion(frames, seed=seed, fps=30.0, size=0.2)
    height = motion.positions[:, :, 1].min()
    root = motion.root - torch.tensor([0.0, 1.0, 0.0]) * height
    return motion.with_(root=root)


def angle(a: np.ndarray, b: np.ndarray) -> float:
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def turned(name: str) -> np.ndarray:
    """From the file's axes to those of a body facing +Z."""
    half = np.deg2rad(-TWELVE[name].faces)
    return np.array([[np.cos(half), 0, np.sin(half)], [0, 1, 0], [-np.sin(half), 0, np.cos(half)]])


@pytest.mark.parametrize("name", TWELVE)
def test_limbs_of_the_written_file_point_where_the_source_points(tmp_path: Path, name: str) -> None:
    made = TWELVE[name]
    rig_files.write(made, tmp_path / "hero.glb")
    motion = standing()
    done = retarget_to(motion, tmp_path / "hero.glb")
    done.save(tmp_path / "out.glb", name="clip")
    angles, away = [], []
    # A leg of the file, scaled by the armature, is as long as the body's.
    size = made.size
    for frame in (0, 13, 39):
        seen = {key: turned(name) @ place for key, place in rig_files.played(tmp_path / "out.glb", frame).items()}
        ours = motion.positions[frame].double().numpy()
        for a, b in LIMBS:
            bone = seen[made.names[b]] - seen[made.names[a]]
            angles.append(angle(bone, ours[CANONICAL.names.index(b)] - ours[CANONICAL.names.index(a)]))
        hips = (seen[made.names["left_hip"]] + seen[made.names["right_hip"]]) / 2
        away.append((hips - size * ours[1:3].mean(0))[[0, 2]])
    assert np.mean(angles) < 2.0
    assert np.max(np.linalg.norm(away, axis=1)) < 0.02 * 0.84 * size
    certificate = done.certificate
    assert certificate.verdict == "pass"
    assert certificate.mean_direction_error < 2.0
    assert certificate.hips_path_error < 2.0
    assert certificate.penetration < 1.0


@pytest.mark.parametrize("name", TWELVE)
def test_without_held_feet_limbs_are_exact(tmp_path: Path, name: str) -> None:
    rig_files.write(TWELVE[name], tmp_path / "hero.glb")
    certificate = retarget_to(standing(), tmp_path / "hero.glb", hold=False).certificate
    assert certificate.max_direction_error < 0.2
    assert set(certificate.mapped) >= {"hips", "left_upper_arm", "right_foot"}


def test_standing_feet_are_held(tmp_path: Path) -> None:
    """On a body of other proportions the feet would skate; held, they do not."""
    rig_files.write(replace(TWELVE["cmu"], size=1.6), tmp_path / "hero.glb")
    motion = standing(60)
    still = motion.with_(contacts=torch.ones(60, 4, dtype=torch.bool))
    done = retarget_to(still, tmp_path / "hero.glb")
    before, after = done.skate
    assert before > 0.05
    assert after < 0.5 * before


def test_meshes_keep_their_bytes_and_clips_are_added(tmp_path: Path) -> None:
    rig_files.write(TWELVE["mixamo"], tmp_path / "hero.glb")
    first = retarget_to(standing(), tmp_path / "hero.glb")
    first.save(tmp_path / "one.glb", name="clip")
    retarget_to(standing(30), tmp_path / "one.glb").save(tmp_path / "two.glb", name="clip")
    before, data = rig_files.load_tree(tmp_path / "hero.glb")
    after, more = rig_files.load_tree(tmp_path / "two.glb")
    assert more[: len(data)] == data
    for key in ("meshes", "skins", "scenes", "nodes"):
        assert after[key] == before[key]
    assert after["accessors"][: len(before["accessors"])] == before["accessors"]
    assert [clip["name"] for clip in after["animations"]] == ["clip", "clip.002"]
    extras = after["animations"][1]["extras"]
    assert (extras["fps"], extras["frames"], extras["certificate"]["verdict"]) == (30.0, 30, "pass")
    times = after["accessors"][after["animations"][1]["samplers"][0]["input"]]
    assert times["max"] == [pytest.approx(29 / 30, abs=1e-7)]


SABOTAGED = {
    "swap": ({"swap": True}, "left and right are swapped"),
    "mirror": ({"mirror": True}, "the skeleton is mirrored"),
    "lie": ({"lie": 90.0}, "the character is lying in rest"),
    "twice": ({"twice": True}, "holds two skeletons"),
    "zero": ({"zero": True}, "'Armature' has scale 0"),
    "skin": ({"skin": False}, "has no skin and no humanoid map"),
}


@pytest.mark.parametrize("kind", SABOTAGED)
@pytest.mark.parametrize("name", ["mixamo", "rigify", "soma"])
def test_what_would_come_out_wrong_is_refused_by_name(tmp_path: Path, name: str, kind: str) -> None:
    changes, message = SABOTAGED[kind]
    rig_files.write(replace(TWELVE[name], **changes), tmp_path / "hero.glb")
    with pytest.raises((RetargetError, MotionFileError), match=message) as refused:
        retarget_to(standing(5), tmp_path / "hero.glb")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", TWELVE)
def test_shape_alone_tells_the_same_bones(tmp_path: Path, name: str) -> None:
    rig_files.write(TWELVE[name], tmp_path / "hero.glb")
    scene = read_scene_of(tmp_path / "hero.glb")
    told = read_rig(scene)
    blind = read_rig(replace(scene, names=tuple(f"n{node}" for node in range(len(scene.names)))))
    fingers = ("thumb", "index", "middle", "ring", "pinky")
    body = {bone: node for bone, node in told.bones.items() if not any(word in bone for word in fingers)}
    assert {bone: blind.bones.get(bone) for bone in body} == body
    assert set(blind.rules.values()) == {"geometry", "between"}


def test_a_map_file_is_believed_and_checked(tmp_path: Path) -> None:
    made = TWELVE["cmu"]
    odd = {joint: f"bone {at}" for at, joint in enumerate(made.names)}
    rig_files.write(replace(made, names=odd), tmp_path / "odd.glb")
    lines = "\n".join(
        f'{bone} = "{odd[joint]}"'
        for bone, joint in (
            ("hips", "pelvis"),
            ("head", "head"),
            ("left_foot", "left_ankle"),
            ("left_toe", "left_foot"),
        )
    )
    (tmp_path / "map.toml").write_text(f'faces = "+Z"\n[bones]\n{lines}\n', encoding="utf-8")
    rig = read_rig(tmp_path / "odd.glb", map_file=tmp_path / "map.toml")
    assert rig.rules["left_foot"] == "map file"
    assert rig.rules["left_hand"] == "geometry"
    for text, message in (
        ("[bones]\ntail = 'x'", "'tail' = 'x'"),
        ("[bones]\nhips = ['a', 'b']", "'hips' is one node"),
        ("faces = 'up'\n[bones]\n", "faces = 'up'"),
        ("[bons]\n", "key 'bons' is unknown"),
        ("not toml", "no map can be read"),
    ):
        (tmp_path / "bad.toml").write_text(text, encoding="utf-8")
        with pytest.raises(RetargetError, match=message):
            read_map_file(tmp_path / "bad.toml")
    (tmp_path / "map.toml").write_text('[bones]\nhips = "Nobody"\n', encoding="utf-8")
    with pytest.raises(RetargetError, match="there is no node 'Nobody'"):
        read_rig(tmp_path / "odd.glb", map_file=tmp_path / "map.toml")


def test_root_bone_and_in_place(tmp_path: Path) -> None:
    rig_files.write(TWELVE["manny"], tmp_path / "hero.glb")
    motion = standing(50)
    done = retarget_to(motion, tmp_path / "hero.glb", root_bone=True)
    done.save(tmp_path / "root.glb")
    assert done.certificate.verdict == "pass"
    ours = motion.positions[:, 1:3].mean(1).double().numpy()
    for frame in (0, 25, 49):
        seen = rig_files.played(tmp_path / "root.glb", frame)
        assert seen["root"][1] == pytest.approx(0.0, abs=1e-6)
        assert np.allclose(seen["root"][[0, 2]], ours[frame][[0, 2]], atol=1e-3)
        assert np.allclose(((seen["thigh_l"] + seen["thigh_r"]) / 2)[[0, 2]], ours[frame][[0, 2]], atol=1e-3)
    retarget_to(motion, tmp_path / "hero.glb", in_place=True).save(tmp_path / "still.glb")
    for frame in (0, 25, 49):
        seen = rig_files.played(tmp_path / "still.glb", frame)
        assert np.allclose(((seen["thigh_l"] + seen["thigh_r"]) / 2)[[0, 2]], 0.0, atol=1e-3)
    rig_files.write(TWELVE["cmu"], tmp_path / "none.glb")
    with pytest.raises(RetargetError, match="no bone above 'Hips' that could carry root motion"):
        retarget_to(motion, tmp_path / "none.glb", root_bone=True)


def test_fingers_go_along_where_both_have_them(tmp_path: Path) -> None:
    rig_files.write(TWELVE["mixamo"], tmp_path / "hero.glb")
    body = standing(10)
    from motionloom.motion import rotations as rot
    from motionloom.motion.skeleton import CANONICAL_HANDS

    rotations = rot.identity(10, 52)
    rotations[:, :22] = body.rotations
    curl = CANONICAL_HANDS.index("left_index2")
    rotations[:, curl] = rot.about("Z", torch.full((10,), -0.8))
    done = retarget_to(Motion(CANONICAL_HANDS, rotations, body.root, 30.0), tmp_path / "hero.glb", hold=False)
    done.save(tmp_path / "out.glb")
    seen = rig_files.played(tmp_path / "out.glb", 5)
    bones = [seen[f"mixamorig:LeftHandIndex{n}"] for n in (1, 2, 3)]
    # In rest the finger is straight; the second joint bends what comes after it by 0.8 rad.
    rest = rig_files.world_of(rig_files.load_tree(tmp_path / "hero.glb")[0]["nodes"])
    names = [node.get("name") for node in rig_files.load_tree(tmp_path / "hero.glb")[0]["nodes"]]
    before = [rest[names.index(f"mixamorig:LeftHandIndex{n}")][:3, 3] for n in (1, 2, 3)]
    assert angle(before[1] - before[0], before[2] - before[1]) < 5
    hand = done.rotations[names.index("mixamorig:LeftHandIndex2")]
    assert len(hand) == 10
    assert angle(bones[1] - bones[0], bones[2] - bones[1]) == pytest.approx(np.degrees(0.8), abs=3)
    assert "left_index2" in done.certificate.mapped


def test_a_written_clip_reads_back_as_the_motion(tmp_path: Path) -> None:
    """Out on a character and in again by the reading side."""
    rig_files.write(TWELVE["rigify"], tmp_path / "hero.glb")
    motion = standing()
    retarget_to(motion, tmp_path / "hero.glb", hold=False).save(tmp_path / "out.glb")
    back = canonical(load(tmp_path / "out.glb"))
    assert back.fps == 30.0
    assert len(back) == len(motion)
    error = (back.positions - motion.positions).norm(dim=-1)
    assert float(error.mean()) < 0.02


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_characters_are_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    path = folder / "hero.glb"
    rig_files.write(TWELVE["cmu"], path)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(len(raw) // 2, len(raw)))] if data.draw(st.booleans()) else raw
    path.write_bytes(bytes(raw))
    with contextlib.suppress(MotionFileError, RetargetError):
        read_rig(path)


def test_fbx_and_bvh_are_characters_too(tmp_path: Path) -> None:
    motion = standing()
    save(motion, tmp_path / "body.bvh")
    save(motion, tmp_path / "body.fbx")
    for name in ("body.bvh", "body.fbx"):
        done = retarget_to(motion, tmp_path / name, hold=False)
        assert done.certificate.verdict == "pass"
        assert done.certificate.max_direction_error < 0.2
        out = tmp_path / f"out{Path(name).suffix}"
        done.save(out)
        back = load(out)
        order = [back.skeleton.names.index(joint) for joint in CANONICAL.names]
        there = back.positions[:, order]
        # Heights may differ by where the soles are; poses may not.
        assert float(((there - there[:, :1]) - (motion.positions - motion.positions[:, :1])).norm(dim=-1).max()) < 2e-3
    text = (tmp_path / "out.bvh").read_text()
    assert text.split("MOTION")[0].strip() == (tmp_path / "body.bvh").read_text().split("MOTION")[0].strip()
    with pytest.raises(MotionFileError, match="is no glTF"):
        retarget_to(motion, tmp_path / "body.bvh").save(tmp_path / "out.glb")
    assert not (tmp_path / "out.glb").exists()


def test_the_certificate_is_plain_json(tmp_path: Path) -> None:
    rig_files.write(TWELVE["vrm"], tmp_path / "hero.glb")
    found = json.loads(
        json.dumps(retarget_to(standing(8), tmp_path / "hero.glb").certificate.as_json(), allow_nan=False)
    )
    assert found["mapped"]["hips"] == {"node": "hips", "rule": "names: vrm"}
    assert set(found["limbs"]) >= {"trunk", "left_upper_arm", "right_lower_leg", "left_foot"}
