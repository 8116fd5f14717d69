import errno
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from corpus import as_cmu, walk, write_cmu

from motionloom.data.prepare import prepare
from motionloom.data.store import Store, read_refused
from motionloom.errors import DataError
from motionloom.motion.io import save


def test_a_pool_and_ray_write_the_same_store_as_one_process(tmp_path):
    pytest.importorskip("ray.data", reason="Ray Data is not installed: pip install 'motionloom[ray]'")
    raw = write_cmu(tmp_path / "raw", clips=100, frames=130)
    prepare({"cmu": raw}, tmp_path / "one", workers=1, progress=False)
    prepare({"cmu": raw}, tmp_path / "pool", workers=2, progress=False)
    # In a process of its own: Ray starts servers that outlive a test.
    code = (
        "from pathlib import Path; from motionloom.data.prepare import prepare\n"
        "if __name__ == '__main__':\n"
        f"    prepare({{'cmu': Path({str(raw)!r})}}, Path({str(tmp_path / 'ray')!r}), 2, False, 'local')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    digests = {Store(tmp_path / name).digest for name in ("one", "pool", "ray")}
    assert len(digests) == 1


def test_a_full_disk_leaves_nothing_half_written_and_goes_on_later(tmp_path, monkeypatch):
    raw = write_cmu(tmp_path / "raw", clips=60, frames=130)
    prepare({"cmu": raw}, tmp_path / "whole", workers=1, progress=False)
    import numpy as np

    real, written = np.savez, []

    def full(handle, **arrays):
        if written:
            handle.write(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(handle)
        real(handle, **arrays)

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\): free space") as caught:
        prepare({"cmu": raw}, tmp_path / "full", workers=1, progress=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "full" / "manifest.json").exists()
    assert len(list((tmp_path / "full" / "work").iterdir())) == 1
    monkeypatch.undo()
    prepare({"cmu": raw}, tmp_path / "full", workers=1, progress=False)
    assert Store(tmp_path / "full").digest == Store(tmp_path / "whole").digest


def test_flags_are_in_the_index_and_worthless_clips_are_refused(tmp_path):
    raw = write_cmu(tmp_path / "raw", clips=3)
    still = walk(300, 0)
    still = still.with_(rotations=still.rotations[:1].expand(300, -1, -1), root=still.root[:1].expand(300, -1))
    save(as_cmu(still), raw / "02" / "02_01.bvh")
    flying = walk(900, 1)
    lift = torch.zeros(900, 3)
    lift[:, 1] = torch.linspace(-3.0, 2.0, 900).clamp(0.0, 0.6)
    save(as_cmu(flying.with_(root=flying.root + lift)), raw / "03" / "03_01.bvh")
    report = prepare({"cmu": raw}, tmp_path / "store", workers=1, progress=False)
    ((clip, reason),) = read_refused(tmp_path / "store")
    assert (clip, report.refused, report.flagged) == ("cmu/02_01", 1, 1)
    assert reason.startswith("frozen: nothing moves")
    flags = Store(tmp_path / "store").clip("cmu/03_01").flags
    assert any(flag.startswith("floating: 0.") for flag in flags)


def test_a_store_is_written_without_a_trace_of_its_work(tmp_path):
    prepare({"cmu": write_cmu(tmp_path / "raw", clips=3)}, tmp_path / "store", workers=1, progress=False)
    names = {path.name for path in Path(tmp_path / "store").iterdir()}
    assert names == {"manifest.json", "index.parquet", "refused.csv", "rotations.npy", "root.npy", "contacts.npy",
                     "valid.npy", "hands.npy"}  # fmt: skip


def test_where_nothing_can_be_taken_nothing_is_left(tmp_path):
    raw = write_cmu(tmp_path / "raw", clips=2)
    for file in raw.rglob("*.bvh"):
        file.write_text(file.read_text()[:-400])
    with pytest.raises(DataError, match=r"none of 2 files could be taken; the first reason: 02_01\.bvh"):
        prepare({"cmu": raw}, tmp_path / "store", workers=1, progress=False)
    assert list((tmp_path / "store").iterdir()) == []
