"""Draw the README's picture: contact sheets of a few sentences, one below the other.

python runs/pictures.py docs/images/starter.png [--seed 5] ["a person bows" ...]
"""

import argparse
from pathlib import Path

from PIL import Image

from motionloom.app.render import contact_sheet
from motionloom.engines.registry import load
from motionloom.motion.files import atomic_path

SENTENCES = (
    "an old person walks and turns left",
    "a person waves the right hand",
    "a happy person runs forward",
    "a person raises both hands",
)


def main() -> None:
    """Generate, draw, stack."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("sentences", nargs="*", default=SENTENCES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--poses", type=int, default=9)
    parser.add_argument("--cell", type=int, default=130)
    options = parser.parse_args()

    engine = load("mmm")
    sheets = [
        contact_sheet(engine.generate(text, seed=options.seed)[0], poses=options.poses, cell=options.cell)
        for text in options.sentences
    ]
    picture = Image.new("RGB", (max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)), "white")
    top = 0
    for sheet in sheets:
        picture.paste(sheet, (0, top))
        top += sheet.height
    with atomic_path(options.out) as temporary:
        picture.save(temporary, format="PNG", optimize=True)


if __name__ == "__main__":
    main()
