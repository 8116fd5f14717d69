"""How good a motion is: feet, floor, jitter, and whether it fits its sentence: python examples/measure_a_motion.py."""

import motionloom as ml
from motionloom.engines.text_motion import TextMotionScorer
from motionloom.metrics.physics import physics

clip = ml.load("mmm").generate("a person walks forward", seconds=4.0, seed=1)[0]
figures = physics(clip.positions, clip.fps, rotations=clip.rotations)
print(f"foot skate {figures.slide:.3f} m/s, penetration {1000 * figures.penetration:.1f} mm")
print(f"jitter {figures.jitter:.0f} m/s3")
for text in ("a person walks forward", "a person bows"):
    print(f"{text}: {TextMotionScorer().fit(text, clip).verdict}")
