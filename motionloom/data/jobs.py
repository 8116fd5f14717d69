"""Preparation in pieces: takes are converted a few dozen at a time, each job's clips become one file.

A job's file is written under a temporary name and renamed, so a run that was killed goes on where it stopped. Jobs
run in this process, in a pool of processes, or on a Ray cluster whose machines see the same folders.
"""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motionloom.data.convert import convert_pieces
from motionloom.data.sources import Take
from motionloom.data.store import pack_parts, pack_rotations, unpack_parts
from motionloom.errors import DataError, MotionloomError
from motionloom.motion.skeleton import CANONICAL, PARTS

ARRAYS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "rotations": (np.int16, (22, 4)),
    "root": (np.float32, (3,)),
    "contacts": (np.uint8, ()),
    "valid": (np.uint16, ()),
    "hands": (np.int16, (30, 4)),
}
"""Arrays of a store: type and shape of a row."""
PER_JOB = 48
"""Takes in a job."""
_VERSION = 3
"""Raise it when the code changes what a job writes, so that half a run of older code is not continued."""
_BODY = len(CANONICAL)
_CONTACT_BITS = np.array([1, 2, 4, 8], dtype=np.uint8)


def job_key(job: list[Take]) -> str:
    """Name of a job's file: by what goes in, so that changed inputs are not taken for done."""
    parts = [str(_VERSION)]
    for item in job:
        row = asdict(item)
        row["path"] = item.path.name
        row["bytes"] = item.path.stat().st_size if item.path.is_file() else -1
        parts.append(json.dumps(row, sort_keys=True))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def run_job(job: list[Take], file: Path) -> int:
    """Convert the takes of a job and write its file; returns how many takes there were."""
    rows: list[dict[str, Any]] = []
    arrays: dict[str, list[np.ndarray]] = {name: [] for name in ARRAYS}
    for item in job:
        for piece, result in convert_pieces(item):
            name = item.id + piece.name
            if isinstance(result, MotionloomError):
                rows.append({"id": name, "refused": str(result).replace(f"{item.path}", item.path.name)})
                continue
            motion = result.motion
            packed, frames = pack_rotations(motion.rotations), len(motion)
            standing = np.zeros((frames, 4), bool) if motion.contacts is None else motion.contacts.numpy()
            bits = pack_parts(motion.valid, frames, hands=packed.shape[1] > _BODY)
            known = unpack_parts(np.bitwise_or.reduce(bits, keepdims=True))[0]
            parts = [part for part, seen in zip(PARTS, known.tolist(), strict=True) if seen]
            hands = "left_hand" in parts or "right_hand" in parts
            for key, array in (
                ("rotations", packed[:, :_BODY]),
                ("root", motion.root.numpy()),
                ("contacts", (standing @ _CONTACT_BITS).astype(np.uint8)),
                ("valid", bits),
                ("hands", packed[:, _BODY:] if hands else np.zeros((0, 30, 4), np.int16)),
            ):
                arrays[key].append(array)
            rows.append(
                {
                    "id": name,
                    "take": item.id,
                    "frames": frames,
                    "fps": motion.fps,
                    "parts": parts,
                    "hands": hands,
                    "flags": list(result.flags),
                    "notes": result.notes,
                    "from": piece.start,
                    "to": piece.stop,
                    "texts": piece.texts,
                }
            )
    joined = {
        name: np.concatenate([np.zeros((0, *shape), dtype), *arrays[name]]) for name, (dtype, shape) in ARRAYS.items()
    }
    temporary = file.with_suffix(".part")
    try:
        with temporary.open("wb") as handle:
            np.savez(handle, allow_pickle=False, rows=np.frombuffer(json.dumps(rows).encode(), np.uint8), **joined)
        temporary.replace(file)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return len(job)


def run_jobs(todo: list[tuple[list[Take], Path]], workers: int, ray: str | None) -> Iterator[int]:
    """Run jobs; yields the number of takes of each finished one.

    Args:
        todo: Jobs and their files.
        workers: Processes of the pool, or of a local Ray.
        ray: Address of a Ray cluster, "local" for one started here, ``None`` for a pool.
    """
    if ray is not None:
        yield from _run_ray(todo, workers, ray)
    elif workers <= 1 or len(todo) <= 1:
        for job, file in todo:
            yield run_job(job, file)
    else:
        yield from _run_pool(todo, workers)


def _run_pool(todo: list[tuple[list[Take], Path]], workers: int) -> Iterator[int]:
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        futures = [pool.submit(run_job, job, file) for job, file in todo]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run_ray(todo: list[tuple[list[Take], Path]], workers: int, address: str) -> Iterator[int]:
    """Run jobs as a Ray Data pipeline; all machines must see the raw folders and the store under the same names."""
    try:
        import ray
        import ray.data as ray_data
    except ImportError as error:
        raise DataError(f"--ray needs Ray Data ({error}): pip install 'motionloom[ray]'") from None
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        ray.init(address="local", num_cpus=max(1, workers), **quiet)
    else:
        ray.init(address=address, log_to_driver=False)
    try:
        ray_data.DataContext.get_current().enable_progress_bars = False
        shared = ray.put([(job, file.resolve()) for job, file in todo])

        def convert(row: dict[str, Any]) -> dict[str, Any]:
            torch.set_num_threads(1)
            job, file = ray.get(shared)[int(row["id"])]
            return {"takes": run_job(job, file)}

        dataset = ray_data.range(len(todo), override_num_blocks=len(todo)).map(convert)
        for row in dataset.iter_rows():
            yield int(row["takes"])
    finally:
        ray.shutdown()
