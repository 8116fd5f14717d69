"""What cleaning did to a motion: feet, floor and jitter before and after."""

from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor

from motionloom.metrics.measurements import measure
from motionloom.metrics.physics import physics
from motionloom.motion.clean import Cleaned, HumanBody
from motionloom.motion.edit import floor_height
from motionloom.motion.motion import Motion


@dataclass(frozen=True)
class Figures:
    """Physical figures of a motion, of a body of our size (legs of 0.84 m), before or after.

    Attributes:
        contact_slide: Mean horizontal speed of ankles and toes while they stand; contacts are those found before [m/s].
        planted_slide: The same of the slower toe below 6 cm in each frame [m/s].
        slide: The same of all toes below 6 cm, low swings included [m/s].
        floor: Height of the floor that the lowest joints show [m].
        penetration: Mean depth of the lowest joint below height 0 [m].
        float_: Mean height of the lowest joint above height 0 [m].
        jitter: Mean jerk of the joints [m/s³].
    """

    contact_slide: float
    planted_slide: float
    slide: float
    floor: float
    penetration: float
    float_: float
    jitter: float


def before_and_after(cleaned: Cleaned) -> tuple[Figures, Figures]:
    """Figures of the source and of the result."""
    body, contacts = cleaned.body, cleaned.contacts
    return _figures(cleaned.source, body, contacts), _figures(cleaned.motion, body, contacts)


def _figures(motion: Motion, body: HumanBody, contacts: Bool[Tensor, "T 4"]) -> Figures:
    """Measure a motion on a body of our size."""
    points = body.scale * body.points(motion)
    floor = floor_height(points)
    feet = points[:, [7, 10, 8, 11]]
    speed = feet.diff(dim=0)[..., [0, 2]].norm(dim=-1) * motion.fps
    standing = contacts[1:] & contacts[:-1]
    world = physics(points, motion.fps)
    return Figures(
        contact_slide=float(speed[standing].mean()) if bool(standing.any()) else 0.0,
        planted_slide=measure(points, motion.fps).planted_slide,
        slide=physics(points, motion.fps, floor).slide,
        floor=floor,
        penetration=world.penetration,
        float_=world.float_,
        jitter=world.jitter,
    )
