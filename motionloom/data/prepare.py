"""Raw dataset folders to a store: in parallel, resumable, the same bytes whatever happened on the way.

Jobs (``jobs.py``) write a file each; when all are there they are joined in the order of the clip ids and removed.
Memory stays flat: takes are listed (names and texts only), a job's clips live in its process, and the join copies one
job at a time to the end of the arrays.
"""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from motionloom.data.cuts import captions_of, labels_of
from motionloom.data.jobs import ARRAYS, PER_JOB, job_key, run_jobs
from motionloom.data.rows import RowWriter
from motionloom.data.sources import Take, sources
from motionloom.data.store import FORMAT, SPLITS, file_digest
from motionloom.errors import DataError

_ROWS_IN_GROUP = 4096
"""Rows of the index that are written at a time."""


@dataclass(frozen=True)
class Report:
    """What a preparation did.

    Attributes:
        clips: Clips in the store.
        frames: Frames in the store.
        hours: Their duration [h].
        refused: How many clips were not taken; ``refused.csv`` says why.
        flagged: Clips that the quality gate found odd; ``motionloom data info`` says in what.
    """

    clips: int
    frames: int
    hours: float
    refused: int
    flagged: int


def prepare(
    folders: Mapping[str, Path], out: Path, workers: int = 2, progress: bool = True, ray: str | None = None
) -> Report:
    """Build a store.

    Args:
        folders: Source name -> its folder.
        out: Folder of the store; an unfinished run there is continued, a finished store is replaced.
        workers: Processes.
        progress: Show a progress bar.
        ray: Run on Ray instead of a pool: "local", or the address of a cluster.

    Raises:
        DataError: A source is unknown, its folder incomplete, nothing at all could be taken, or the disk is full.
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
    try:
        work.mkdir(parents=True, exist_ok=True)
        jobs = [takes[start : start + PER_JOB] for start in range(0, len(takes), PER_JOB)]
        files = [work / f"{job_key(job)}.npz" for job in jobs]
        todo = [(job, file) for job, file in zip(jobs, files, strict=True) if not file.is_file()]
        with tqdm(total=len(takes), unit="clip", desc="prepare", disable=not progress) as bar:
            bar.update(len(takes) - sum(len(job) for job, _ in todo))
            for count in run_jobs(todo, workers, ray):
                bar.update(count)
        return _join(takes, files, out, folders)
    except OSError as error:
        raise DataError(
            f"{out} cannot be written ({error.strerror or error}): free space or choose another folder; the same"
            " command then goes on where it stopped"
        ) from None
    finally:
        for part in out.glob("*.part"):
            part.unlink(missing_ok=True)


def _join(takes: list[Take], files: list[Path], out: Path, folders: Mapping[str, Path]) -> Report:
    tallies = _write_store(takes, files, out)
    clips = sum(tallies["clips"].values())
    if not clips:
        reason = _first_refusal(files)
        shutil.rmtree(out / "work")
        raise DataError(f"none of {len(takes)} files could be taken; the first reason: {reason}")
    names = [*(f"{name}.npy" for name in ARRAYS), "index.parquet", "refused.csv"]
    hours = sum(tallies["seconds"].values()) / 3600
    manifest = {
        "format": FORMAT,
        "clips": clips,
        "frames": sum(tallies["frames"].values()),
        "hours": round(hours, 4),
        "splits": {split: tallies["splits"][split] for split in SPLITS},
        "sources": {
            name: {
                "clips": tallies["clips"][name],
                "hours": round(tallies["seconds"][name] / 3600, 4),
                "refused": tallies["refused"][name],
                "flagged": tallies["flagged"][name],
                "licence": "; ".join(sorted({str(item.licence) for item in takes if item.source == name})),
            }
            for name in sorted(folders)
        },
        "licences": {str(item.licence): item.licence.facts() for item in takes},
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
    return Report(clips, manifest["frames"], hours, sum(tallies["refused"].values()), sum(tallies["flagged"].values()))


def _first_refusal(files: Iterable[Path]) -> str:
    return next(row["refused"] for file in files for row in _read_job(file)[0])


def _read_job(file: Path) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    with np.load(file, allow_pickle=False) as arrays:
        return json.loads(arrays["rows"].tobytes()), {name: arrays[name] for name in ARRAYS}


def _write_store(takes: list[Take], files: Iterable[Path], out: Path) -> dict[str, Counter[str]]:
    """Arrays, index and refusals under temporary names, a job at a time; and what there is of each source."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    by_id = {item.id: item for item in takes}
    tallies = {name: Counter() for name in ("clips", "frames", "seconds", "refused", "flagged", "splits")}
    schema = pa.schema(
        [(name, pa.string()) for name in ("id", "source", "licence", "split")]
        + [("fps", pa.float64()), ("start", pa.int64()), ("frames", pa.int64()), ("hands", pa.int64())]
        + [(name, pa.list_(pa.string())) for name in ("parts", "captions", "mirrored", "flags")]
        + [("labels", pa.string()), ("notes", pa.string())]
    )
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(RowWriter(out / f"{name}.npy.part", dtype, shape))
            for name, (dtype, shape) in ARRAYS.items()
        }
        table = stack.enter_context((out / "refused.csv.part").open("w", newline=""))
        index = stack.enter_context(parquet.ParquetWriter(out / "index.parquet.part", schema, compression="zstd"))
        refusals = csv.writer(table, lineterminator="\n")
        refusals.writerow(("clip", "reason"))
        group: list[dict[str, Any]] = []
        for file in files:
            rows, arrays = _read_job(file)
            start, hands = writers["root"].rows, writers["hands"].rows
            for name, array in arrays.items():
                writers[name].append(array)
            for row in rows:
                source = row["id"].partition("/")[0]
                if "refused" in row:
                    refusals.writerow((row["id"], row["refused"]))
                    tallies["refused"][source] += 1
                    continue
                group.append(_index_row(by_id[row["take"]], row, start, hands if row["hands"] else -1))
                start += row["frames"]
                hands += row["frames"] if row["hands"] else 0
                tallies["clips"][source] += 1
                tallies["frames"][source] += row["frames"]
                tallies["seconds"][source] += row["frames"] / row["fps"]
                tallies["flagged"][source] += bool(row["flags"])
                tallies["splits"][group[-1]["split"]] += 1
            if len(group) >= _ROWS_IN_GROUP:
                index.write_table(pa.Table.from_pylist(group, schema))
                group = []
        index.write_table(pa.Table.from_pylist(group, schema))
    return tallies


def _index_row(item: Take, row: dict[str, Any], start: int, hands: int) -> dict[str, Any]:
    texts = tuple(row["texts"])
    return {
        **{name: row[name] for name in ("id", "fps", "frames", "parts", "flags", "notes")},
        "source": item.source,
        "licence": str(item.licence),
        "split": item.split,
        "start": start,
        "hands": hands,
        "captions": captions_of(item, texts, mirrored=False),
        "mirrored": captions_of(item, texts, mirrored=True),
        "labels": json.dumps(labels_of(item, row["from"], row["to"], texts), sort_keys=True),
    }
