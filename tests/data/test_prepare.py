import shutil
import subprocess
import sys
import tarfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import walk, write_cmu

from motionloom.data.prepare import prepare
from motionloom.data.sources import bandai, cmu
from motionloom.data.store import Store, pack_rotations, read_refused, unpack_rotations
from motionloom.errors import DataError
from motionloom.motion import rotations as rot
from motionloom.motion.contacts import with_contacts
from motionloom.motion.edit import face_forward, on_floor
from motionloom.motion.io import save

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def test_every_clip_of_the_corpus_is_in_the_store(store):
    assert store.manifest["clips"] == 12
    assert {clip.id for clip in store.clips} == {f"cmu/{index + 2:02d}_01" for index in range(12)}
    # 240 frames at 120 fps, less the T-pose, strided to 60 fps.
    assert {clip.frames for clip in store.clips} == {120}
    assert {clip.fps for clip in store.clips} == {60.0}
    assert all(len(clip.captions) >= 6 and len(clip.mirrored) >= 6 for clip in store.clips)


def test_a_stored_motion_is_the_one_that_went_in(store):
    clip = store.clips[3]
    wanted = walk(240, 3)
    # The files have no spine2: its turn is not in them.
    wanted.rotations[:, 6] = rot.identity(1)
    wanted = with_contacts(face_forward(on_floor(wanted.with_(
        rotations=wanted.rotations[1::2], root=wanted.root[1::2], fps=60.0
    ))))  # fmt: skip
    found = store.motion(clip)
    legs = [1, 2, 4, 5, 7, 8]
    assert float((found.positions - wanted.positions)[:, legs].norm(dim=-1).max()) < 5e-3
    assert found.contacts is not None
    assert wanted.contacts is not None
    assert torch.equal(found.contacts, wanted.contacts)


def test_packing_loses_less_than_a_hundredth_of_a_degree():
    quaternions = rot.normalize(torch.randn(1000, 4, generator=torch.Generator().manual_seed(0)))
    packed = pack_rotations(quaternions)
    assert packed.dtype == np.int16
    error = rot.angle_between(unpack_rotations(packed), quaternions)
    assert float(torch.rad2deg(error).max()) < 0.01


def test_a_killed_preparation_goes_on_to_the_same_store(tmp_path):
    raw = write_cmu(tmp_path / "raw", clips=60, frames=150)
    code = (
        "from pathlib import Path; from motionloom.data.prepare import prepare\n"
        f"prepare({{'cmu': Path({str(raw)!r})}}, Path({str(tmp_path / 'killed')!r}), workers=1, progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    work = tmp_path / "killed" / "work"
    while not (work.is_dir() and any(work.glob("*.npz"))) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "killed" / "manifest.json").is_file()
    prepare({"cmu": raw}, tmp_path / "killed", workers=1, progress=False)
    prepare({"cmu": raw}, tmp_path / "whole", workers=1, progress=False)
    assert Store(tmp_path / "killed").digest == Store(tmp_path / "whole").digest


def test_files_that_cannot_be_read_are_listed_with_the_reason(tmp_path):
    raw = write_cmu(tmp_path / "raw", clips=4)
    broken = raw / "03" / "03_01.bvh"
    broken.write_text(broken.read_text()[:-400])
    report = prepare({"cmu": raw}, tmp_path / "store", workers=1, progress=False)
    assert report.clips == 3
    assert report.refused == 1
    ((clip, reason),) = read_refused(tmp_path / "store")
    assert clip == "cmu/03_01"
    assert "03_01.bvh" in reason
    assert str(tmp_path) not in reason


def test_a_jump_of_the_root_is_cut_out(tmp_path):
    raw = write_cmu(tmp_path / "raw", clips=2)
    from corpus import as_cmu

    motion = walk(600, 0)
    root = motion.root.clone()
    root[101] = 0.0
    save(as_cmu(motion.with_(root=root + torch.tensor([0.0, 0.0, 5.0]) * (torch.arange(600) != 101)[:, None])),
         raw / "02" / "02_01.bvh")  # fmt: skip
    prepare({"cmu": raw}, tmp_path / "store", workers=1, progress=False)
    clip = Store(tmp_path / "store").clip("cmu/02_01")
    assert "the root jumps" in clip.notes
    assert 200 < clip.frames < 300


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({"nonsense": "."}, "source 'nonsense' is unknown; the sources are 100style, .*bandai, .*cmu"),
        ({"cmu": "nowhere"}, "nowhere is no folder"),
        ({"cmu": "."}, "manifest.csv is missing"),
        ({"bandai": "."}, "no files named dataset-1_CONTENT_STYLE_ID.bvh"),
    ],
)
def test_wrong_folders_are_named(tmp_path, folders, message):
    with pytest.raises(DataError, match=message):
        prepare({name: tmp_path / folder for name, folder in folders.items()}, tmp_path / "out", progress=False)


def test_a_half_unpacked_archive_names_what_is_missing(tmp_path):
    raw = write_cmu(tmp_path / "raw", clips=3)
    shutil.rmtree(raw / "04")
    with pytest.raises(DataError, match=r"1 files of the manifest are missing, first 04/04_01\.bvh"):
        cmu.takes(raw)


def test_dance_partners_share_a_split(tmp_path):
    rows = ["clip,subject,file,format,frames,fps,description"]
    (tmp_path / "dance").mkdir()
    for index in range(1, 31):
        (tmp_path / "dance" / f"salsa_{index:02d}.bvh").touch()
        rows.append(f"salsa_{index:02d},dance,dance/salsa_{index:02d}.bvh,bvh,100,60,salsa")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    splits = {take.id: take.split for take in cmu.takes(tmp_path)}
    for index in range(1, 16):
        assert splits[f"cmu/salsa_{index:02d}"] == splits[f"cmu/salsa_{index + 15:02d}"]


def test_neighbouring_takes_of_one_action_share_a_split(tmp_path):
    for index in range(1, 41):
        (tmp_path / f"dataset-2_walk_normal_{index:03d}.bvh").touch()
    splits = [take.split for take in bandai.takes(tmp_path)]
    changes = sum(a != b for a, b in pairwise(splits))
    assert changes == 2
    assert (splits.count("train"), splits.count("val"), splits.count("test")) == (36, 2, 2)


def test_no_clip_is_in_two_splits_and_all_have_the_same_labels_as_their_name(tmp_path):
    (tmp_path / "dataset-1_bow_not-confident_001.bvh").touch()
    (take,) = bandai.takes(tmp_path)
    assert take.labels == {"content": "bow", "style": "not-confident", "dataset": "1"}


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"manifest\.json is missing"):
        Store(tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data is not here")
def test_real_clips_of_both_sources(tmp_path):
    """The first members of each archive only: unpacking all of it takes minutes."""
    wanted = {"bandai-namco/bandai-namco.tar.xz": 6, "cmu/cmu.tar.xz": 40}
    for name, most in wanted.items():
        with tarfile.open(SHARED / name) as archive:
            taken = 0
            for member in archive:
                if member.name.endswith((".bvh", ".csv")):
                    archive.extract(member, tmp_path, filter="data")
                    taken += 1
                if taken >= most:
                    break
    report = prepare({"bandai": tmp_path}, tmp_path / "store", workers=1, progress=False)
    assert report.clips >= 5
    found = Store(tmp_path / "store")
    for clip in found.clips:
        heights = found.motion(clip).positions[..., 1]
        assert -0.1 < float(heights.min()) < 0.1
        assert 1.2 < float(heights.max()) < 2.3
