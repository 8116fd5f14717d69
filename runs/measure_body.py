"""Print mean bone lengths over the 31-joint skeletons of the CMU database: what the canonical body's sizes are from.

    python runs/measure_body.py CMU_FOLDER

One file a subject; offsets in units of 0.056444 m, the scale of those files.
"""

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from motionloom.motion.io.bvh import parse_bvh

UNIT = 0.056444


def main() -> None:
    """Read one BVH file of every subject that has the 31-joint skeleton."""
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    for folder in sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir()):
        files = sorted(folder.glob("*.bvh"))
        clip = parse_bvh(files[0]) if files else None
        if clip is None or "LHipJoint" not in clip.names:
            continue
        for name, offset in zip(clip.names, np.asarray(clip.offsets), strict=True):
            found[name].append(offset * UNIT)
    for name, offsets in found.items():
        mean = np.mean(offsets, axis=0)
        length = np.linalg.norm(offsets, axis=1).mean()
        print(f"{name:<20} {mean[0]:7.3f} {mean[1]:7.3f} {mean[2]:7.3f}  length {length:.3f} m, {len(offsets)} files")


if __name__ == "__main__":
    main()
