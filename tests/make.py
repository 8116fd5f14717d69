"""Motions, skeletons and rotations for tests: plain functions of sizes and a seed."""

import math

import torch
from torch import Tensor

from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL, Skeleton


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tensor(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


def rotations(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Uniformly random unit quaternions of shape ``(*shape, 4)``."""
    return rot.normalize(tensor(*shape, 4, seed=seed, dtype=dtype))


def skeleton(joints: int, seed: int = 0) -> Skeleton:
    """A random tree with bones of about 0.3 m."""
    g = generator(seed)
    parents = [-1, *(int(torch.randint(0, joint, (), generator=g)) for joint in range(1, joints))]
    offsets = 0.3 * torch.randn(joints, 3, generator=g)
    return Skeleton(tuple(f"joint{index}" for index in range(joints)), tuple(parents), offsets)


def waves(frames: int, channels: int, fps: float, seed: int, slowest: float = 2.5) -> Tensor:
    """Smooth tracks ``(frames, channels)`` of about unit size: three sines each, no faster than 2 Hz."""
    g = generator(seed)
    time = torch.arange(frames)[:, None, None] / fps
    speed = 1 / slowest + (2.0 - 1 / slowest) * torch.rand(channels, 3, generator=g)
    phase = 2 * math.pi * torch.rand(channels, 3, generator=g)
    size = torch.randn(channels, 3, generator=g) / math.sqrt(3.0)
    return (size * torch.sin(2 * math.pi * speed * time + phase)).sum(-1)


def motion(frames: int = 60, seed: int = 0, fps: float = 20.0, size: float = 0.25) -> Motion:
    """The canonical body walking along a curved path with every joint moving smoothly (angles of about ``size``)."""
    joints = len(CANONICAL)
    turns = size * waves(frames, 3 * joints, fps, seed).view(frames, joints, 3)
    rotations = rot.from_axis_angle(turns)
    heading = 0.8 * waves(frames, 1, fps, seed + 1, slowest=8.0)[:, 0]
    rotations[:, 0] = rot.multiply(rot.about("Y", heading), rot.from_axis_angle(0.5 * turns[:, 0]))
    steps = torch.stack((heading.sin(), torch.zeros(frames), heading.cos()), dim=-1) * 1.2 / fps
    root = steps.cumsum(0) - steps[:1]
    root[:, 1] = 0.93 + 0.03 * waves(frames, 1, fps, seed + 2)[:, 0]
    return Motion(CANONICAL, rot.normalize(rotations), root, fps)


def degrees_apart(a: Tensor, b: Tensor) -> float:
    """Largest angle [degrees] between two sets of quaternions."""
    return float(torch.rad2deg(rot.angle_between(a, b)).max())
