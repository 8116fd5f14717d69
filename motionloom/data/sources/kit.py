"""KIT-ML in the form in which text-to-motion work uses it: HumanML3D's layout with 251 features at 12.5 fps.

``new_joint_vecs/00001.npy``, ``texts/00001.txt``, ``train.txt``, ``val.txt``, ``test.txt`` (Plappert et al., "The KIT
motion-language dataset", 2016, converted by Guo et al., CVPR 2022). The original MMM files (XML) are not read.
"""

from pathlib import Path

from motionloom import licences
from motionloom.data.sources import Take
from motionloom.data.sources.amass import marked_texts
from motionloom.data.sources.common import BODY, lines_of, listed, need
from motionloom.errors import DataError


def takes(folder: Path) -> list[Take]:
    """The motions of KIT-ML's splits; names with M are mirror images, which are made when a store is read.

    Raises:
        DataError: Features, texts or splits are missing, or the folder holds the original MMM files.
    """
    if any(folder.glob("*_mmm.xml")):
        raise DataError(f"{folder}: holds MMM files; the converted set with new_joint_vecs and texts is needed")
    splits = ("train", "val", "test")
    hint = "unpack the KIT-ML folder of the HumanML3D authors there"
    need(folder, ("new_joint_vecs", "texts", *(f"{split}.txt" for split in splits)), hint)
    found, missing = [], []
    for split in splits:
        for name in lines_of(folder / f"{split}.txt"):
            if name.startswith("M"):
                continue
            motion, text = folder / "new_joint_vecs" / f"{name}.npy", folder / "texts" / f"{name}.txt"
            lacking = [path.relative_to(folder).as_posix() for path in (motion, text) if not path.is_file()]
            missing += lacking
            if not lacking:
                found.append(
                    Take(
                        id=f"kit/{name}",
                        source="kit",
                        licence=licences.KIT,
                        path=motion,
                        fps=None,
                        unit=None,
                        split=split,
                        labels={"name": name},
                        texts=marked_texts(text),
                        valid=BODY,
                    )
                )
    if missing:
        raise DataError(f"{folder}: {len(missing)} files of KIT-ML are missing: {listed(missing)}")
    return found
