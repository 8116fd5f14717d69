"""Raw dataset folders to a store: in parallel, resumable, the same bytes whatever happened on the way.

Work is cut into jobs of a few dozen takes; each job's result is one file, written under a temporary name and renamed,
so a run that was killed goes on where it stopped. When all jobs are there they are joined in the order of the clip
ids and removed.
"""

import csv
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from motionloom.data.cuts import Piece, captions_of, labels_of, pieces_of
from motionloom.data.sources import Take, reader, sources
from motionloom.data.store import FORMAT, SPLITS, file_digest, pack_rotations
from motionloom.errors import DataError, MotionloomError
from motionloom.motion import io
from motionloom.motion import rotations as rot
from motionloom.motion.contacts import foot_contacts
from motionloom.motion.edit import floor_height
from motionloom.motion.kinematics import facing, yaw
from motionloom.motion.motion import Motion
from motionloom.motion.resample import take as take_frames
from motionloom.motion.retarget import retarget

MAX_FPS = 60.0
"""Faster captures are strided down to at most this."""
MIN_SECONDS = 0.8
MAX_SPEED = 12.0
"""A root faster than this [m/s] is a tracking error: nobody runs so fast."""
_JOB = 48
_VERSION = 2
"""Raise it when the code changes what a job writes, so that half a run of older code is not continued."""


@dataclass(frozen=True)
class Report:
    """What a preparation did.

    Attributes:
        clips: Clips in the store.
        frames: Frames in the store.
        hours: Their duration [h].
        refused: (clip id, reason) of each file that was not taken.
    """

    clips: int
    frames: int
    hours: float
    refused: tuple[tuple[str, str], ...]


def prepare(folders: Mapping[str, Path], out: Path, workers: int = 2, progress: bool = True) -> Report:
    """Build a store.

    Args:
        folders: Source name -> its folder.
        out: Folder of the store; an unfinished run there is continued, a finished store is replaced.
        workers: Processes.
        progress: Show a progress bar.

    Raises:
        DataError: A source is unknown, its folder incomplete, or nothing at all could be taken.
    """
    known = sources()
    takes: list[Take] = []
    for name, folder in folders.items():
        if name not in known:
            raise DataError(f"source {name!r} is unknown; the sources are {', '.join(sorted(known))}")
        if not folder.is_dir():
            raise DataError(f"source {name}: {folder} is no folder")
        takes += known[name](folder)
    takes.sort(key=lambda item: item.id)
    work = out / "work"
    work.mkdir(parents=True, exist_ok=True)
    jobs = [takes[start : start + _JOB] for start in range(0, len(takes), _JOB)]
    files = [work / f"{_job_key(job)}.npz" for job in jobs]
    todo = [(job, file) for job, file in zip(jobs, files, strict=True) if not file.is_file()]
    with tqdm(total=len(takes), unit="clip", desc="prepare", disable=not progress) as bar:
        bar.update(len(takes) - sum(len(job) for job, _ in todo))
        for count in _run(todo, workers):
            bar.update(count)
    return _join(takes, files, out, folders)


def _run(todo: list[tuple[list[Take], Path]], workers: int) -> Iterator[int]:
    """Run jobs in processes; yields the number of takes of each finished one."""
    if workers <= 1 or len(todo) <= 1:
        for job, file in todo:
            yield _run_job(job, file)
        return
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        futures = [pool.submit(_run_job, job, file) for job, file in todo]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _job_key(job: list[Take]) -> str:
    """Name of a job's file: by what goes in, so that changed inputs are not taken for done."""
    parts = [str(_VERSION)]
    for item in job:
        row = asdict(item)
        row["path"] = item.path.name
        row["bytes"] = item.path.stat().st_size if item.path.is_file() else -1
        parts.append(json.dumps(row, sort_keys=True))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _run_job(job: list[Take], file: Path) -> int:
    rows: list[dict[str, Any]] = []
    rotations, roots, contacts = [], [], []
    for item in job:
        for piece, result in _convert_pieces(item):
            name = item.id + piece.name
            if isinstance(result, MotionloomError):
                reason = str(result).replace(f"{item.path}", item.path.name)
                rows.append({"id": name, "refused": reason})
                continue
            motion, notes = result
            bits = (
                motion.contacts.numpy() if motion.contacts is not None else np.zeros((len(motion), 4), bool)
            ) @ np.array([1, 2, 4, 8], dtype=np.uint8)
            rotations.append(pack_rotations(motion.rotations))
            roots.append(motion.root.numpy())
            contacts.append(bits.astype(np.uint8))
            rows.append({"id": name, "take": item.id, "frames": len(motion), "fps": motion.fps, "notes": notes})
            rows[-1] |= {"from": piece.start, "to": piece.stop, "texts": piece.texts}
    temporary = file.with_suffix(".part")
    with temporary.open("wb") as handle:
        np.savez(
            handle,
            rows=np.frombuffer(json.dumps(rows).encode(), np.uint8),
            rotations=np.concatenate(rotations) if rotations else np.zeros((0, 22, 4), np.int16),
            root=np.concatenate(roots) if roots else np.zeros((0, 3), np.float32),
            contacts=np.concatenate(contacts) if contacts else np.zeros(0, np.uint8),
        )
    temporary.replace(file)
    return len(job)


def convert_take(item: Take) -> tuple[Motion, str]:
    """One take as a canonical motion on the floor, facing +Z; and what was done to it.

    Raises:
        DataError: The take is refused: by its source, or because too little of it is usable.
        MotionloomError: The file cannot be read or moved onto the canonical body.
    """
    return _finished(item, _read(item))


def _convert_pieces(item: Take) -> Iterator[tuple[Piece, tuple[Motion, str] | MotionloomError]]:
    """Each clip of a take, or why it is refused."""
    try:
        motion = _read(item)
        pieces = pieces_of(item, motion.seconds)
    except MotionloomError as error:
        yield Piece("", 0.0, 0.0, ()), error
        return
    for piece in pieces:
        try:
            part = _cut(motion, piece.start, piece.stop) if piece.name else motion
            yield piece, _finished(item, part)
        except MotionloomError as error:
            yield piece, error


def _read(item: Take) -> Motion:
    """A take as a canonical motion where its file has it: cut to its times, at 60 fps at most."""
    if item.refuse:
        raise DataError(item.refuse)
    if item.read:
        motion = reader(item.read)(item)
    elif item.path.suffix.lower() == ".bvh":
        motion = io.load(item.path, unit=item.unit, fps=item.fps)
    else:
        motion = io.load(item.path)
    if item.fps is not None and motion.fps != item.fps:
        motion = motion.with_(fps=item.fps)
    if item.start is not None or item.stop is not None:
        motion = _cut(motion, item.start or 0.0, motion.seconds if item.stop is None else item.stop)
    stride = max(1, int(motion.fps // MAX_FPS))
    frames = torch.arange(item.skip, len(motion), stride)
    if len(frames) == 0:
        raise DataError(f"only {len(motion)} frames, {item.skip} of which are no motion")
    if stride > 1 or item.skip:
        motion = take_frames(motion, frames, motion.fps / stride)
    return retarget(motion)


def _cut(motion: Motion, start: float, stop: float) -> Motion:
    """The frames between two times [s]."""
    first, last = round(start * motion.fps), min(len(motion), round(stop * motion.fps))
    if first >= last:
        raise DataError(f"nothing is left between {start:g} s and {stop:g} s of {motion.seconds:.2f} s")
    return take_frames(motion, torch.arange(first, last))


def _finished(item: Take, motion: Motion) -> tuple[Motion, str]:
    motion, note = _without_teleports(motion)
    if motion.seconds < MIN_SECONDS:
        raise DataError(f"{motion.seconds:.2f} s long; at least {MIN_SECONDS} s are needed")
    motion = _settled(motion)
    if item.valid is not None and not {"left_leg", "right_leg"} <= set(item.valid):
        # Legs that nobody saw stand as at rest; that tells nothing about the floor.
        motion = motion.with_(contacts=None)
    return motion, "; ".join(filter(None, [motion.provenance.notes[-1] if motion.provenance.notes else "", note]))


def _settled(motion: Motion) -> Motion:
    """On the floor, facing +Z over the origin in frame 0, with contacts: three edits for one forward kinematics."""
    positions = motion.positions
    floor = floor_height(positions)
    by = rot.about("Y", -yaw(facing(positions[0])))
    rotations = motion.rotations.clone()
    rotations[:, 0] = rot.multiply(by, rotations[:, 0])
    root = rot.rotate(by, motion.root - torch.tensor([0.0, floor, 0.0]))
    return motion.with_(
        rotations=rotations,
        root=root - root[0] * torch.tensor([1.0, 0.0, 1.0]),
        contacts=foot_contacts(positions, motion.fps, floor),
    )


def _without_teleports(motion: Motion) -> tuple[Motion, str]:
    """The longest span without a jump of the root."""
    speed = (motion.root[1:] - motion.root[:-1]).norm(dim=-1) * motion.fps
    jumps = (speed > MAX_SPEED).nonzero().flatten().tolist()
    if not jumps:
        return motion, ""
    edges = [0, *(jump + 1 for jump in jumps), len(motion)]
    first, last = max(pairwise(edges), key=lambda span: span[1] - span[0])
    return take_frames(motion, torch.arange(first, last)), (
        f"the root jumps at {float(speed.max()):.0f} m/s: only frames {first} to {last - 1} of {len(motion)} kept"
    )


def _join(takes: list[Take], files: list[Path], out: Path, folders: Mapping[str, Path]) -> Report:
    by_id = {item.id: item for item in takes}
    index: list[dict[str, Any]] = []
    refused: list[tuple[str, str]] = []
    total = 0
    for file in files:
        with np.load(file, allow_pickle=False) as arrays:
            rows = json.loads(arrays["rows"].tobytes())
        for row in rows:
            if "refused" in row:
                refused.append((row["id"], row["refused"]))
                continue
            index.append(_index_row(by_id[row["take"]], row, total))
            total += row["frames"]
    if not index:
        raise DataError(f"none of {len(takes)} files could be taken; the first reason: {refused[0][1]}")
    shapes = {
        "rotations": (np.int16, (total, 22, 4)),
        "root": (np.float32, (total, 3)),
        "contacts": (np.uint8, (total,)),
    }
    for name, (dtype, shape) in shapes.items():
        target = out / f"{name}.npy.part"
        array = np.lib.format.open_memmap(target, "w+", dtype=dtype, shape=shape)
        row = 0
        for file in files:
            with np.load(file, allow_pickle=False) as arrays:
                part = arrays[name]
            array[row : row + len(part)] = part
            row += len(part)
        array.flush()
        del array
    _write_tables(out, index, refused)
    names = [*(f"{name}.npy" for name in shapes), "index.parquet", "refused.csv"]
    hours = sum(row["frames"] / row["fps"] for row in index) / 3600
    manifest = {
        "format": FORMAT,
        "clips": len(index),
        "frames": total,
        "hours": round(hours, 4),
        "splits": {split: sum(row["split"] == split for row in index) for split in SPLITS},
        "sources": _source_table(index, refused, folders),
        "sha256": {name: file_digest(out / f"{name}.part") for name in names},
    }
    # The manifest goes first and comes back last: without it the folder is no store.
    (out / "manifest.json").unlink(missing_ok=True)
    for name in names:
        (out / f"{name}.part").replace(out / name)
    shutil.rmtree(out / "features", ignore_errors=True)
    temporary = out / "manifest.json.part"
    temporary.write_text(json.dumps(manifest, indent=2) + "\n")
    temporary.replace(out / "manifest.json")
    shutil.rmtree(out / "work")
    return Report(len(index), total, hours, tuple(refused))


def _index_row(item: Take, row: dict[str, Any], start: int) -> dict[str, Any]:
    texts = tuple(row["texts"])
    return {
        "id": row["id"],
        "source": item.source,
        "licence": item.licence,
        "split": item.split,
        "fps": row["fps"],
        "start": start,
        "frames": row["frames"],
        "labels": json.dumps(labels_of(item, row["from"], row["to"], texts), sort_keys=True),
        "captions": captions_of(item, texts, mirrored=False),
        "mirrored": captions_of(item, texts, mirrored=True),
        "notes": row["notes"],
    }


def _source_table(
    index: Iterable[dict[str, Any]], refused: list[tuple[str, str]], folders: Mapping[str, Path]
) -> dict[str, dict[str, Any]]:
    clips = Counter(row["source"] for row in index)
    return {
        name: {
            "clips": clips[name],
            "hours": round(sum(row["frames"] / row["fps"] for row in index if row["source"] == name) / 3600, 4),
            "refused": sum(clip.startswith(f"{name}/") for clip, _ in refused),
            "licence": next((row["licence"] for row in index if row["source"] == name), ""),
        }
        for name in sorted(folders)
    }


def _write_tables(out: Path, index: list[dict[str, Any]], refused: list[tuple[str, str]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parquet.write_table(pa.Table.from_pylist(index), out / "index.parquet.part", compression="zstd")
    with (out / "refused.csv.part").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("clip", "reason"))
        writer.writerows(refused)
