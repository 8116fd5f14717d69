"""motionloom: generate, edit and understand human motion, and take it to where it is used.

The public names are imported when first used, so that ``import motionloom`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from motionloom.motion.io import load as load_motion
    from motionloom.motion.io import save
    from motionloom.motion.keep import frames, parts
    from motionloom.motion.motion import Motion, Provenance
    from motionloom.motion.retarget import retarget
    from motionloom.motion.rigs.onto import retarget_to
    from motionloom.motion.skeleton import CANONICAL, Skeleton
    from motionloom.tasks.generate import load

_NAMES = {
    "CANONICAL": "motionloom.motion.skeleton:CANONICAL",
    "Motion": "motionloom.motion.motion:Motion",
    "Provenance": "motionloom.motion.motion:Provenance",
    "Skeleton": "motionloom.motion.skeleton:Skeleton",
    "frames": "motionloom.motion.keep:frames",
    "load": "motionloom.tasks.generate:load",
    "load_motion": "motionloom.motion.io:load",
    "parts": "motionloom.motion.keep:parts",
    "retarget": "motionloom.motion.retarget:retarget",
    "retarget_to": "motionloom.motion.rigs.onto:retarget_to",
    "save": "motionloom.motion.io:save",
}

__all__ = [
    "CANONICAL",
    "Motion",
    "Provenance",
    "Skeleton",
    "frames",
    "load",
    "load_motion",
    "parts",
    "retarget",
    "retarget_to",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'motionloom' has no attribute {name!r}")
    module, attribute = _NAMES[name].split(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
