"""Runs in MediaPipe's own Python: raw RGB frames come in, a line of JSON with 33 points goes out for each.

It imports nothing of motionloom, which need not be installed there.
"""

import importlib
import json
import sys


def main() -> int:
    """Say "ready" (or "missing"), then answer frame by frame until the input ends."""
    width, height = int(sys.argv[1]), int(sys.argv[2])
    try:
        numpy = importlib.import_module("numpy")
        pose_module = importlib.import_module("mediapipe.python.solutions.pose")
    except ImportError:
        print("missing", flush=True)
        return 1
    with pose_module.Pose(model_complexity=1, smooth_landmarks=True) as pose:
        print("ready", flush=True)
        while True:
            raw = sys.stdin.buffer.read(width * height * 3)
            if len(raw) < width * height * 3:
                return 0
            found = pose.process(numpy.frombuffer(raw, numpy.uint8).reshape(height, width, 3)).pose_landmarks
            points = found and [[point.x, point.y, point.visibility] for point in found.landmark]
            print(json.dumps(points or None), flush=True)


if __name__ == "__main__":
    sys.exit(main())
