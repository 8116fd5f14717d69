"""What a training that goes on from trained weights keeps of them beside the weights."""

from pathlib import Path

from motionloom.data.loader import Stats
from motionloom.models.checkpoint import load_checkpoint


def started_stats(init: str) -> Stats | None:
    """Mean and spread of the features that the weights of a trained model mean; nothing without a model.

    Args:
        init: Folder of the trained model; empty for none.
    """
    if not init:
        return None
    found = load_checkpoint(Path(init)).stats
    return Stats(found["mean"], found["std"])
