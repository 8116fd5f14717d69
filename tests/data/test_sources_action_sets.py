"""SmartBody, UI-PRMD, HDM05, more of CMU and Mesh2Motion as their manifests list them; sentences people wrote."""

import numpy as np
import pytest
import torch
from corpus import walk
from publishers import as_lafan, write_cm

from motionloom.data.convert import convert_take
from motionloom.data.cuts import captions_of
from motionloom.data.sources import READERS, SOURCES, action_sets, cmu, kitml, sources
from motionloom.errors import DataError
from motionloom.motion.skeleton import CANONICAL


def manifest(folder, header, rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.csv").write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")


def write_walks(folder, names, frames=60):
    for seed, name in enumerate(names):
        write_cm(as_lafan(walk(frames, seed, 30.0)), folder / name)


def squat(repetition: int) -> np.ndarray:
    """Joint positions of a body that goes down and up again in 40 frames."""
    rest, _ = torch.zeros(22, 3), None
    for joint, parent in enumerate(CANONICAL.parents):
        if parent >= 0:
            rest[joint] = rest[parent] + CANONICAL.offsets[joint]
    body = (rest - torch.tensor([0.0, float(rest[:, 1].min()), 0.0])).numpy()
    depth = 0.25 * np.sin(np.pi * np.arange(40) / 39) ** 2
    moved = np.repeat(body[None], 40, 0)
    upper = [joint for joint in range(22) if joint not in (4, 5, 7, 8, 10, 11)]
    moved[:, upper, 1] -= depth[:, None]
    moved[:, 4:6, 2] += depth[:, None]
    return (moved + 0.01 * repetition).astype(np.float32)


@pytest.fixture
def prmd(tmp_path):
    rows = []
    for subject in ("s01", "s09"):
        for repetition in range(1, 11):
            name = f"uiprmd_m01_{subject}_e{repetition:02d}"
            (tmp_path / "npy").mkdir(exist_ok=True)
            np.save(tmp_path / "npy" / f"{name}.npy", squat(repetition))
            caption = "a person does a deep squat with both arms raised overhead"
            rows.append((name, f"npy/{name}.npy", caption, subject, ""))
    manifest(tmp_path, "clip,file,caption,subject,side", rows)
    return tmp_path


def test_repetitions_are_joined_and_counted(prmd):
    takes = [take for take in action_sets.ui_prmd(prmd) if take.labels["subject"] == "s01"]
    assert [take.labels["count"] for take in takes] == ["1", "1", "2", "2", "3"]
    assert takes[0].id == "ui-prmd/uiprmd_m01_s01_e02"  # the first of ten holds the way into the pose
    lengths = []
    for take in takes:
        motion = convert_take(take).motion
        lengths.append(len(motion))
        # The head goes down as often as the label says.
        low = (motion.positions[:, 15, 1] < motion.positions[:, 15, 1].max() - 0.15).int()
        assert int((low.diff() > 0).sum()) == int(take.labels["count"])
        assert float((motion.root[1:] - motion.root[:-1]).norm(dim=-1).max()) < 0.06
    assert lengths == [40, 40, 80, 80, 120]


def test_subjects_and_actors_are_held_out_whole(prmd):
    splits = {(take.labels["subject"], take.split) for take in action_sets.ui_prmd(prmd)}
    assert splits == {("s01", "train"), ("s09", "test")}


def test_broken_repetitions_are_left_out(tmp_path):
    name = "uiprmd_m04_s05_e01"
    (tmp_path / "npy").mkdir()
    np.save(tmp_path / "npy" / f"{name}.npy", squat(0))
    manifest(
        tmp_path, "clip,file,caption,subject,side",
        [(name, f"npy/{name}.npy", "a person does a side lunge to the left and comes back up", "s05", "left")],
    )  # fmt: skip
    assert action_sets.ui_prmd(tmp_path) == []
    np.save(tmp_path / "npy" / f"{name}.npy", np.zeros((40, 20, 3), np.float32))
    (tmp_path / "npy" / "b.npy").write_bytes((tmp_path / "npy" / f"{name}.npy").read_bytes())
    caption = "a person sits down low and stands up again"
    manifest(tmp_path, "clip,file,caption,subject,side", [("b", "npy/b.npy", caption, "s05", "")])
    with pytest.raises(DataError, match="frames x 22 joints x 3 are needed"):
        convert_take(action_sets.ui_prmd(tmp_path)[0])


def test_hdm05_holds_out_an_actor_and_joins_repetitions(tmp_path):
    caption = "a person kicks forward once with the left leg"
    names = [(actor, f"HDM_{actor}_kick_{number:03d}") for actor in ("bd", "mm") for number in range(1, 5)]
    for actor, name in names:
        write_walks(tmp_path / actor, [f"{name}.bvh"])
    manifest(
        tmp_path, "clip,file,fps,caption,actor,motion_class",
        [(name, f"{actor}/{name}.bvh", "120", caption, actor, "kickLFront1Reps") for actor, name in names],
    )  # fmt: skip
    takes = action_sets.hdm05(tmp_path)
    assert {(take.labels["actor"], take.split) for take in takes} == {("bd", "train"), ("mm", "test")}
    counts = sorted(take.labels["count"] for take in takes if take.split == "train")
    assert counts == ["1", "1", "1", "1", "2"]
    pair = next(take for take in takes if take.labels["count"] == "2")
    single = next(take for take in takes if take.labels["count"] == "1")
    assert len(convert_take(pair).motion) > 1.8 * len(convert_take(single).motion)
    assert any("twice" in text for text in captions_of(pair, (), mirrored=False))
    assert all("right" in text or "left" not in text for text in captions_of(pair, (), mirrored=True))


def test_smartbody_is_held_out_by_description_and_a_still_pose_is_no_fault(tmp_path):
    captions = {"a": "a person stands idle", "b": "a person shrugs", "c": "a person shrugs"}
    write_walks(tmp_path / "bvh", [f"{name}.bvh" for name in captions])
    header = "clip,file,fps,caption,group,character"
    manifest(tmp_path, header, [(n, f"bvh/{n}.bvh", "30", text, "gestures", "Brad") for n, text in captions.items()])
    takes = {take.id: take for take in action_sets.smartbody(tmp_path)}
    assert takes["smartbody/b"].split == takes["smartbody/c"].split
    assert takes["smartbody/a"].still
    assert not takes["smartbody/b"].still
    assert takes["smartbody/a"].action == "idle"
    still = walk(60, 0, 30.0)
    still = still.with_(rotations=still.rotations[:1].expand(60, -1, -1), root=still.root[:1].expand(60, -1))
    for name in ("a", "b"):
        write_cm(as_lafan(still), tmp_path / "bvh" / f"{name}.bvh")
    assert any(flag.startswith("frozen") for flag in convert_take(takes["smartbody/a"]).flags)
    with pytest.raises(DataError, match="frozen"):
        convert_take(takes["smartbody/b"])


def test_a_clip_that_is_not_what_its_sentence_says_is_renamed(tmp_path):
    name = "gestures2_ChrBrad_Idle01_ToWalk01_Turn180Rt01"
    write_walks(tmp_path / "bvh", [f"{name}.bvh"])
    header = "clip,file,fps,caption,group,character"
    manifest(tmp_path, header, [(name, f"bvh/{name}.bvh", "30", "a person stands idle", "gestures2", "Brad")])
    assert action_sets.smartbody(tmp_path)[0].labels["description"].endswith("turning 180 degrees to the left")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match=r"manifest\.csv is missing"):
        action_sets.mesh2motion(tmp_path)
    manifest(tmp_path, "clip,file,fps,caption", [("a", "bvh/a.bvh", "24", "a person nods")])
    with pytest.raises(DataError, match=r"bvh/a\.bvh is missing"):
        action_sets.mesh2motion(tmp_path)
    manifest(tmp_path, "clip,file,fps,caption", [("a", "../a.bvh", "24", "a person nods")])
    (tmp_path.parent / "a.bvh").write_text("x")
    with pytest.raises(DataError, match="leads out of the dataset's folder"):
        action_sets.mesh2motion(tmp_path)
    (tmp_path.parent / "a.bvh").unlink()
    assert {"hdm05", "ui-prmd"} <= set(READERS)
    assert {"smartbody", "ui-prmd", "hdm05", "cmu-more", "mesh2motion"} <= set(SOURCES) == set(sources())


def test_half_of_the_human_sentences_are_kept_for_testing():
    used, kept = [], []
    for number in range(400):
        texts, label = kitml.sentences_of(f"{number:02d}_01", ("A person wlaks foward.",))
        (used if texts else kept).append(number)
        assert bool(texts) != bool(label)
        assert (texts or (label["kept"],)) == ("a person walks forward",)
    assert 160 < len(used) < 240


def test_sentences_join_the_captions_of_their_trial(tmp_path):
    (tmp_path / "cmu-captions").mkdir()
    folder = tmp_path / "cmu"
    trials = [f"{number:02d}_01" for number in range(8)]
    write_walks(folder, [f"{trial}.bvh" for trial in trials])
    manifest(
        folder, "clip,subject,file,format,frames,fps,description",
        [(trial, "1", f"{trial}.bvh", "bvh", "60", "30.0", "walk") for trial in trials],
    )  # fmt: skip
    table = "\n".join(f"{trial},A person walks with his left hand in his pocket." for trial in trials)
    (tmp_path / "cmu-captions" / "kitml_cmu.csv").write_text(f"trial,text\n{table}\n")
    human = "a person walks with his left hand in his pocket"
    for take in cmu.takes(folder):
        texts = tuple(timed.text for timed in take.texts)
        said = captions_of(take, texts, mirrored=False)
        assert (human in said) != ("kept" in take.labels)
        assert ("kept" in take.labels) == (human.replace("left", "right") not in captions_of(take, texts, True))
    assert {"kept" in take.labels for take in cmu.takes(folder)} == {True, False}
