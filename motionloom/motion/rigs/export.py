"""What is written of a motion on a character: formats, and the facts that go along with it."""

from collections.abc import Callable
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

from motionloom.errors import MotionFileError
from motionloom.motion.files import atomic_path
from motionloom.motion.rigs.onto import Retargeted

ON_CHARACTER = {
    ".glb": "motionloom.motion.rigs.glb_on:write_glb_on",
    ".vrm": "motionloom.motion.rigs.glb_on:write_glb_on",
    ".vrma": "motionloom.motion.io.vrma:write_vrma_on",
    ".bvh": "motionloom.motion.rigs.bvh_rig:write_bvh_on",
    ".fbx": "motionloom.motion.io.fbx_write:write_fbx_on",
    ".usda": "motionloom.motion.io.usd:write_usd_on",
    ".usdz": "motionloom.motion.io.usd:write_usd_on",
}
"""Writers of a motion on a character, by suffix."""


def can_save_on(path: str | PathLike[str]) -> Callable[..., None]:
    """Find the writer of a character's file.

    Raises:
        MotionFileError: The suffix is unknown, or the directory does not exist.
    """
    path = Path(path)
    target = ON_CHARACTER.get(path.suffix.lower())
    if target is None:
        known = ", ".join(ON_CHARACTER)
        raise MotionFileError(f"{path}: a motion on a character is written as {known}")
    if not path.parent.is_dir():
        raise MotionFileError(f"{path}: the directory {path.parent} does not exist; make it first")
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def save_on(
    done: Retargeted, path: str | PathLike[str], *, name: str | None = None, reduce: float = 0.0
) -> dict[str, Any]:
    """Write a motion on a character; the file appears whole or not at all.

    Returns:
        The facts that were written with it.

    Raises:
        MotionFileError: The format is unknown or cannot hold this character.
        RetargetError: The certificate refuses it.
    """
    from motionloom.errors import RetargetError
    from motionloom.motion.rigs.facts import facts_of

    path = Path(path)
    writer = can_save_on(path)
    certificate = done.certificate
    if certificate.verdict == "refused":
        raise RetargetError(f"{done.rig.path}: the result would be wrong: {'; '.join(certificate.reasons)}")
    facts = facts_of(done.source, loop=done.looped, contacts=done.contacts.numpy(), certificate=certificate)
    title = name or done.source.provenance.text or Path(done.source.provenance.source).stem or "motion"
    with atomic_path(path) as temporary:
        writer(done, temporary, name=title[:60], reduce=reduce, facts=facts)
    return facts
