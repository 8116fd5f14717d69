"""A picture of a corpus: contact sheets of clips drawn at random, so that a look tells what it is made of."""

from pathlib import Path

import numpy as np
from PIL import Image

from motionloom.app.render import PAPER, contact_sheet
from motionloom.data.store import Store
from motionloom.errors import RequestError
from motionloom.motion.edit import cut
from motionloom.motion.files import atomic_path

_GAP = 8
_MOST_SECONDS = 20.0


def write_gallery(store: Store, path: Path, count: int = 12, seed: int = 0, columns: int = 2) -> list[str]:
    """Draw clips of a store, sources taking turns, into one PNG.

    Args:
        store: The store.
        path: The picture.
        count: How many clips.
        seed: Which.
        columns: Sheets side by side.

    Returns:
        Ids of the clips, in reading order.

    Raises:
        RequestError: The picture is no PNG, or no clips are asked for.
    """
    if path.suffix.lower() != ".png" or count < 1:
        raise RequestError(f"{count} clips into {path}; a gallery is a .png of at least one clip")
    rng = np.random.default_rng(seed)
    by_source = {
        name: rng.permutation([index for index, clip in enumerate(store.clips) if clip.source == name]).tolist()
        for name in sorted({clip.source for clip in store.clips})
    }
    picked: list[int] = []
    while len(picked) < min(count, len(store.clips)):
        picked += [rows.pop() for rows in by_source.values() if rows]
    sheets = []
    for index in picked[:count]:
        clip = store.clips[index]
        motion = store.motion(clip, hands=True)
        shown = motion if motion.seconds <= _MOST_SECONDS else cut(motion, 0.0, _MOST_SECONDS)
        title = f"{clip.id}: {clip.captions[0]}" if clip.captions else clip.id
        sheets.append(contact_sheet(shown, title[:64], poses=6, cell=110))
    width = max(sheet.width for sheet in sheets)
    height = max(sheet.height for sheet in sheets)
    rows = -(-len(sheets) // columns)
    picture = Image.new("RGB", (columns * (width + _GAP), rows * (height + _GAP)), PAPER)
    for at, sheet in enumerate(sheets):
        picture.paste(sheet, (at % columns * (width + _GAP), at // columns * (height + _GAP)))
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")
    return [store.clips[index].id for index in picked[:count]]
