"""The benchmark runs and its ratios are those of its times; how fast it is, is not a test."""

from pathlib import Path

import pytest
import torch

from motionloom.app.bench import bench_bvh
from motionloom.errors import MotionFileError
from motionloom.motion import rotations as rot
from motionloom.motion.io import save
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL


def test_ratios_follow_from_times(tmp_path: Path) -> None:
    motion = Motion(CANONICAL, rot.identity(50, 22), torch.tensor([[0.0, 0.93, 0.0]]).repeat(50, 1), 30.0)
    save(motion, tmp_path / "a.bvh")
    result = bench_bvh(tmp_path / "a.bvh", repeats=1)
    assert result["file"] == "a.bvh"
    assert result["bytes"] == (tmp_path / "a.bvh").stat().st_size
    assert all(result[name]["wall_s"] > 0 for name in ("numpy", "parse", "read"))
    ratio = result["parse"]["cpu_s"] / result["numpy"]["cpu_s"]
    assert result["ratios"]["parse_to_numpy"] == pytest.approx(ratio, abs=1e-3)


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MotionFileError, match="0 repeats; at least 1"):
        bench_bvh(None, repeats=0)
    with pytest.raises(MotionFileError, match="cannot be read"):
        bench_bvh(tmp_path / "none.bvh", repeats=1)
