"""One person through all frames of a video, and how sure its points are."""

import numpy as np

from motionloom.conditions.keypoint_files import Person

_REACH, _LONGER, _FARTHEST = 0.75, 0.25, 2.5
"""How far a person may have come since the last frame, as a share of its size; more for each frame it was not seen."""


def follow(frames: list[list[Person]]) -> tuple[list[np.ndarray | None], list[str]]:
    """First the largest person, then always the same: by its id, and near to where it was; nothing where it is not.

    Args:
        frames: The people of each frame, the third number of a point being its confidence.

    Returns:
        The points of each frame, and notes.
    """
    chosen: list[np.ndarray | None] = []
    last: np.ndarray | None = None
    size, gap, name, others = 0.0, 0, None, 0
    for people in frames:
        visible = [person for person in people if (person.table[:, 2] > 0).any()]
        best: Person | None = None
        if visible and last is None:
            best = max(visible, key=_extent)
        elif visible and last is not None:
            same = [person for person in visible if name is not None and person.id == name]
            limit = size * min(_FARTHEST, _REACH + _LONGER * gap)
            near = sorted(same or visible, key=lambda person: float(np.linalg.norm(_middle(person) - last)))
            # An id may be given away or change after a gap, so places count as well.
            best = near[0] if np.linalg.norm(_middle(near[0]) - last) <= (2.0 * limit if same else limit) else None
        if best is None:
            gap += last is not None
            others += bool(visible)
            chosen.append(None)
            continue
        chosen.append(best.table)
        extent = _extent(best)
        size = extent if last is None else max(0.9 * size, extent)
        last, gap, name = _middle(best), 0, best.id if best.id is not None else name
    notes = []
    seen = [index for index, table in enumerate(chosen) if table is not None]
    lost = 0 if not seen else seen[-1] - seen[0] + 1 - len(seen)
    if others:
        notes.append(f"in {others} frames only other people are seen: the followed one counts as unseen there")
    elif lost:
        notes.append(f"the person is not seen in {lost} frames between the first and the last")
    return chosen, notes


def confidences(frames: list[list[Person]]) -> tuple[list[list[Person]], list[str]]:
    """People whose third numbers are confidences from 0 to 1.

    COCO's flags 0, 1, 2 are halved; numbers above 1 are cut; third numbers that cannot be confidences are depths, and
    all points then count as seen.
    """
    thirds = [person.table[:, 2] for people in frames for person in people]
    if not thirds:
        return frames, []
    every = np.concatenate(thirds)
    unsure = [person.table[:, 2] for people in frames for person in people if not person.scored]
    doubted = np.concatenate(unsure) if unsure else np.zeros(0)
    notes: list[str] = []
    depth = bool(len(doubted)) and bool((doubted < -1e-6).any() or (doubted > 2.0).mean() > 0.2)
    if depth:
        notes.append("third numbers of points are negative or large: taken as depth, all points as seen")
    flags = not depth and set(np.unique(every[: 1 << 16])) <= {0.0, 1.0, 2.0} and float(every.max()) == 2.0
    flags = flags and set(np.unique(every)) <= {0.0, 1.0, 2.0}
    cut: list[int] = []
    result = []
    for index, people in enumerate(frames):
        kept = []
        for person in people:
            sure = person.table[:, 2]
            if depth and not person.scored:
                sure = np.ones_like(sure)
            elif flags:
                sure = sure / 2.0
            if len(sure) and (float(sure.max()) > 1.0 or float(sure.min()) < 0.0):
                cut.append(index)
                sure = sure.clip(0.0, 1.0)
            table = np.column_stack((person.table[:, :2], sure))
            kept.append(Person(table, True, person.id))
        result.append(kept)
    if cut:
        count = len(set(cut))
        notes.append(f"confidences beyond 0 to 1 in {count} frames, the first is frame {cut[0]}: cut to that range")
    return result, notes


def _middle(person: Person) -> np.ndarray:
    return np.median(person.table[person.table[:, 2] > 0, :2], axis=0)


def _extent(person: Person) -> float:
    """Size of a person in the image: width and height of what is seen."""
    return float(np.ptp(person.table[person.table[:, 2] > 0, :2], axis=0).sum())
