"""motionloom: generate, edit and understand human motion, and take it to where it is used.

The public names are imported when first used, so that ``import motionloom`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from motionloom.conditions.audio import load_audio, save_audio
    from motionloom.conditions.keypoints import Keypoints, load_keypoints
    from motionloom.engines.mmm.story import read_script
    from motionloom.engines.registry import load
    from motionloom.motion.io import load as load_motion
    from motionloom.motion.io import save
    from motionloom.motion.keep import frames, parts
    from motionloom.motion.motion import Motion, Provenance
    from motionloom.motion.retarget import retarget
    from motionloom.motion.rigs.onto import retarget_to
    from motionloom.motion.skeleton import CANONICAL, Skeleton

_NAMES = {
    "CANONICAL": "motionloom.motion.skeleton:CANONICAL",
    "Keypoints": "motionloom.conditions.keypoints:Keypoints",
    "Motion": "motionloom.motion.motion:Motion",
    "Provenance": "motionloom.motion.motion:Provenance",
    "Skeleton": "motionloom.motion.skeleton:Skeleton",
    "frames": "motionloom.motion.keep:frames",
    "load": "motionloom.engines.registry:load",
    "load_audio": "motionloom.conditions.audio:load_audio",
    "load_keypoints": "motionloom.conditions.keypoints:load_keypoints",
    "load_motion": "motionloom.motion.io:load",
    "parts": "motionloom.motion.keep:parts",
    "retarget": "motionloom.motion.retarget:retarget",
    "read_script": "motionloom.engines.mmm.story:read_script",
    "retarget_to": "motionloom.motion.rigs.onto:retarget_to",
    "save": "motionloom.motion.io:save",
    "save_audio": "motionloom.conditions.audio:save_audio",
}

__all__ = [
    "CANONICAL",
    "Keypoints",
    "Motion",
    "Provenance",
    "Skeleton",
    "frames",
    "load",
    "load_audio",
    "load_keypoints",
    "load_motion",
    "parts",
    "read_script",
    "retarget",
    "retarget_to",
    "save",
    "save_audio",
]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'motionloom' has no attribute {name!r}")
    module, attribute = _NAMES[name].split(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
