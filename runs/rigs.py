"""Walk, wave and bow on every character of a folder: mean direction error, hips path error, skate, and what is refused.

    python runs/rigs.py [FOLDER] [--json FILE]

The folder is ``../shared/rigs`` when left out. The motions are made by the bundled MMM with seed 1.
"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import motionloom as ml
from motionloom.errors import MotionloomError
from motionloom.motion.rigs.onto import retarget_to
from motionloom.motion.rigs.rig import read_rig

CLIPS = {
    "walk": "a person walks forward",
    "wave": "a person waves with the right hand",
    "bow": "a person bows down",
}
SUFFIXES = (".glb", ".gltf", ".vrm", ".fbx", ".bvh")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parents[2] / "shared/rigs")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    engine = ml.load("mmm")
    motions = {name: engine.generate(text, seconds=4.0, seed=1, fps=30.0)[0] for name, text in CLIPS.items()}
    rows = []
    print(f"{'character':<42}{'clip':<6}{'verdict':<9}{'mean deg':>9}{'max deg':>9}{'hips %':>8}{'skate':>14}{'s':>7}")
    for path in sorted(item for item in arguments.folder.iterdir() if item.suffix.lower() in SUFFIXES):
        try:
            rig = read_rig(path)
        except MotionloomError as error:
            print(f"{path.name:<42}refused: {str(error).removeprefix(f'{path}: ')}")
            rows.append({"character": path.name, "verdict": "refused", "reason": str(error).split(": ", 1)[-1]})
            continue
        for name, motion in motions.items():
            started = time.perf_counter()
            done = retarget_to(motion, rig)
            certificate = done.certificate
            taken = time.perf_counter() - started
            with TemporaryDirectory() as folder:
                suffix = {"fbx": ".fbx", "bvh": ".bvh"}.get(rig.scene.kind, ".glb")
                done.save(Path(folder) / f"out{suffix}")
            print(
                f"{path.name:<42}{name:<6}{certificate.verdict:<9}{certificate.mean_direction_error:>9.2f}"
                f"{certificate.max_direction_error:>9.2f}{certificate.hips_path_error:>8.2f}"
                f"{certificate.skate_before:>7.3f}{certificate.skate_after:>7.3f}{taken:>7.2f}"
            )
            rows.append({"character": path.name, "clip": name, "seconds": round(taken, 3), **certificate.as_json()})
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
