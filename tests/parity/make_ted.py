"""Writes ``ted_gesture.mdb.xz``: two videos as the publishers of TED-Gesture++ write them, by their own libraries.

Needs ``pip install "pyarrow==10.0.1" "numpy<2" lmdb`` (pyarrow 0.14.1, which they used, runs on no Python after 3.7;
the two layouts differ in names and in the order of the counts) in an environment of its own.
"""

import lzma
import tempfile
from pathlib import Path

import lmdb  # pyright: ignore[reportMissingImports]
import numpy as np
import pyarrow

HERE = Path(__file__).parent


def clip(frames: int, start: float, points: int = 10) -> dict:
    poses = np.sin(np.arange(frames * points * 3, dtype=np.float64) / 7).astype(np.float32).reshape(frames, points, 3)
    return {
        "words": [
            ["hello", start - 0.1, start + 0.4],
            ["", start + 0.4, start + 0.5],
            ["wörld", start + 0.5, start + 1],
        ],
        "skeletons": [[1, 2.5] * 12 for _ in range(frames)],
        "skeletons_3d": list(poses),
        "audio_feat": np.zeros((128, 8), np.float16),
        "audio_raw": np.linspace(-1, 1, 64).astype(np.float16),
        "start_frame_no": round(start * 30),
        "end_frame_no": round(start * 30) + 2 * frames,
        "start_time": start,
        "end_time": start + frames / 15,
    }


VIDEOS = [
    {"vid": "abcdefghij0", "clips": [clip(34, 1.0), clip(40, 10.0)], "framerate": 30.0},
    {"vid": "abcdefghij1", "clips": [], "framerate": 25.0},
]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = lmdb.open(folder, map_size=1 << 24)
        for index, video in enumerate(VIDEOS):
            with database.begin(write=True) as transaction:
                packed = pyarrow.serialize(video)  # pyright: ignore[reportAttributeAccessIssue]
                transaction.put(f"{index:010}".encode("ascii"), packed.to_buffer())
        # Enough small values for branch pages, which the publishers' databases have.
        with database.begin(write=True) as transaction:
            for index in range(300):
                transaction.put(f"x{index:04}".encode("ascii"), str(index).encode("ascii") * 5)
        database.close()
        raw = (Path(folder) / "data.mdb").read_bytes()
    (HERE / "ted_gesture.mdb.xz").write_bytes(lzma.compress(raw, preset=9))


if __name__ == "__main__":
    main()
