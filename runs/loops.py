"""Fifty sentences as game clips: how far apart a loop's ends are, how far a clip in place drifts, how many keys stay.

    python runs/loops.py [--on CHARACTER]

Motions of the bundled MMM, four seconds, 30 fps, seeds 0 to 4 of ten sentences. Figures are of the files as written;
a seam is of the pose, so the heading of a body that turns with each cycle is left out.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import motionloom as ml
from motionloom.motion.io.glb_read import read_scene
from motionloom.motion.rigs.clips import pose_world
from motionloom.motion.rigs.deliver import Delivery

TEXTS = (
    "a person walks forward",
    "a person walks backward",
    "a person runs",
    "a person waves with the right hand",
    "a person jumps",
    "a person turns left",
    "a person bows down",
    "a person kicks with the right leg",
    "a person dances",
    "a person stands and looks around",
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--on", type=Path)
    arguments = parser.parse_args()
    engine = ml.load("mmm")
    delivery = Delivery(on=arguments.on, loop=True, in_place=True, reduce=0.5)
    rows = []
    with TemporaryDirectory() as folder:
        for text in TEXTS:
            for seed in range(5):
                motion = engine.generate(text, seconds=4.0, seed=seed, fps=30.0)[0]
                path = Path(folder) / "clip.glb"
                facts, _ = delivery.write(motion, path)
                rows.append((text, seed, *measure(path, facts["frames"])))
                seam, drift, keys = rows[-1][2:]
                print(f"{text:<40}{seed:>3}{seam:>9.3f} deg{drift:>9.3f} mm{100 * keys:>7.1f} % of keys")
    for name, column in (("seam, degrees", 2), ("drift, mm", 3), ("share of keys", 4)):
        values = np.array([row[column] for row in rows])
        print(f"{name}: mean {values.mean():.4f}, most {values.max():.4f}")


def lean(quaternion: np.ndarray) -> np.ndarray:
    """A rotation (wxyz) without its turn about +Y."""
    w, _, y, _ = quaternion
    size = np.hypot(w, y)
    c, s = w / size, y / size
    w, x, y, z = quaternion
    return np.array([c * w + s * y, c * x - s * z, c * y - s * w, c * z + s * x])


def measure(path: Path, frames: int) -> tuple[float, float, float]:
    """Seam [degrees], drift [mm] and share of keys of the last animation of a file."""
    scene = read_scene(path)
    clip = scene.clips[-1]
    last = max(track.times[-1] for track in clip.tracks.values())
    angles = []
    hips = min(node for node, kind in clip.tracks if kind == "translation")
    for (node, kind), track in clip.tracks.items():
        if kind == "rotation":
            a, b = track.at(np.array([0.0, last]))
            if node == hips:
                # Only the lean of the hips has to come back, not their heading.
                a, b = (lean(q) for q in (a, b))
            angles.append(np.degrees(2 * np.arccos(min(1.0, abs(float(a @ b))))))
    world = pose_world(scene, clip, np.linspace(0, last, 60))
    legs = [at for at, name in enumerate(scene.names) if "hip" in name.lower() or "thigh" in name.lower()]
    centre = world[:, legs][..., :3, 3].mean(1)[:, [0, 2]]
    drift = 1000 * float(np.linalg.norm(centre - centre[0], axis=1).max())
    keys = sum(len(track.times) for track in clip.tracks.values())
    return max(angles), drift, keys / (frames * len(clip.tracks))


if __name__ == "__main__":
    main()
