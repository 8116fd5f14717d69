"""What a motion shows, in words: python examples/describe_a_motion.py [FILE]."""

import sys

import motionloom as ml

engine = ml.load("m3gpt")
if len(sys.argv) > 1:
    clip = ml.retarget(ml.load_motion(sys.argv[1]))
else:
    clip = ml.load("mmm").generate("a person waves the right hand", seconds=4.0, seed=1)[0]
for caption in engine.describe(clip, count=3):
    print(f"{caption.confidence:.2f}  {caption.text}")
