"""Facts about motions and bundled models, and the door for official checkpoints."""

import math
from importlib import resources
from pathlib import Path
from typing import Any, cast

from motionloom.errors import RetargetError
from motionloom.metrics.physics import physics
from motionloom.models.checkpoint import load_checkpoint
from motionloom.motion.edit import on_floor
from motionloom.motion.motion import Motion
from motionloom.motion.retarget import retarget


def facts(motion: Motion) -> dict[str, Any]:
    """What a motion is, and its physical quality on the canonical body.

    Units: metres, seconds, degrees. Where the skeleton is no humanoid the physical figures are left out, and
    "physics" says why.
    """
    positions = motion.positions
    size = positions[0].amax(0) - positions[0].amin(0)
    path = motion.root[:, [0, 2]]
    way = float((path[1:] - path[:-1]).norm(dim=-1).sum())
    found: dict[str, Any] = {
        "frames": len(motion),
        "fps": motion.fps,
        "seconds": motion.seconds,
        "joints": len(motion.skeleton),
        "first frame is (width, height, depth) m": ", ".join(f"{float(value):.2f}" for value in size),
        "way of the root m": way,
        "mean speed m/s": way / motion.seconds,
        "source": motion.provenance.source,
        "licence": motion.provenance.licence,
        "text": motion.provenance.text,
        "engine": motion.provenance.engine,
    }
    try:
        moved = retarget(motion)
        body = on_floor(moved)
    except RetargetError as error:
        found["physics"] = f"not measured: {error}"
    else:
        figures = physics(body.positions, body.fps, rotations=body.rotations)
        found |= {
            "foot slide m/s": figures.slide,
            "penetration m": figures.penetration,
            "float m": figures.float_,
            "jitter m/s3": figures.jitter,
            "skating ratio": figures.skate_ratio,
            "joints beyond their limits degrees": math.degrees(cast(float, figures.joint_limit)),
        }
        if moved is not motion:
            found["retargeted"] = moved.provenance.notes[-1]
    found["notes"] = list(motion.provenance.notes)
    return {name: value for name, value in found.items() if value not in ("", [])}


def bundled() -> list[dict[str, Any]]:
    """The models in the package: name, kind, parameters, bytes, licence, data sources."""
    root = Path(str(resources.files("motionloom") / "starter"))
    found = []
    for config in sorted(root.rglob("config.json")):
        checkpoint = load_checkpoint(config.parent)
        found.append(
            {
                "model": config.parent.relative_to(root).as_posix(),
                "kind": checkpoint.kind,
                "parameters": sum(value.numel() for value in checkpoint.model.parameters()),
                "bytes": sum(file.stat().st_size for file in config.parent.iterdir()),
                "licence": checkpoint.licence,
                "sources": sorted(_sources(checkpoint.data)),
            }
        )
    return found


def _sources(ledger: Any) -> list[str]:
    """Names of the datasets in a checkpoint's ledger; none where it was imported."""
    return list(ledger["sources"]) if isinstance(ledger, dict) and "sources" in ledger else []
