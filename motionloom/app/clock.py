"""Clocks of the benchmarks, and what they were read on."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motionloom.errors import RequestError

_CPU_INFO = Path("/proc/cpuinfo")


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was (mean number of running tasks, last minute)."""
    names = [row.split(":", 1)[1].strip() for row in _cpu_info() if row.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def has_bf16() -> bool:
    """Whether the processor says that it has bfloat16 instructions; one that cannot be asked is taken to have none."""
    flags = {word for row in _cpu_info() if row.startswith(("flags", "Features")) for word in row.split()}
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def _cpu_info() -> list[str]:
    return _CPU_INFO.read_text().splitlines() if _CPU_INFO.is_file() else []


def size(module: torch.nn.Module) -> int:
    """Parameters of a network."""
    return sum(parameter.numel() for parameter in module.parameters())


def clock() -> np.ndarray:
    """CPU seconds, with those of children that have ended, and wall seconds."""
    spent = os.times()
    return np.array([time.process_time() + spent.children_user + spent.children_system, time.perf_counter()])


def time_jobs(jobs: Mapping[str, Callable[[], object]], repeats: int, warm_up: bool = True) -> dict[str, Any]:
    """Time jobs one after the other; ``all`` is their sum within a run.

    Args:
        jobs: Taking turns.
        repeats: Runs that count.
        warm_up: Whether one more comes first, which does not.

    Raises:
        RequestError: There are no repeats.
    """
    if repeats < 1:
        raise RequestError(f"{repeats} repeats; at least 1 is needed")
    runs = []
    for turn in range(repeats + warm_up):
        spent = []
        for job in jobs.values():
            before = clock()
            job()
            # A tick of the clock is the least a run can take: rates stay finite.
            spent.append(np.maximum(clock() - before, 1e-6))
        if turn or not warm_up:
            runs.append([*spent, np.sum(spent, axis=0)])
    return {
        name: {
            kind: {"min": round(min(values), 6), "median": round(statistics.median(values), 6)}
            for kind, values in (
                ("cpu_s", [float(run[slot][0]) for run in runs]),
                ("wall_s", [float(run[slot][1]) for run in runs]),
            )
        }
        for slot, name in enumerate([*jobs, "all"])
    }
