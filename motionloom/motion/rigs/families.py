"""Which node of a rig is which bone of a body, by its name: families of names are data in ``spellings/*.toml``.

A family lists its names with ``{s}`` for the side and, for fingers, ``{f}`` and ``{n}``; of several spellings the first
is the one that is written. Letter case and separators do not count (``L_Thigh``, ``l.thigh``, ``LThigh`` are one), nor
do namespaces, the family's prefixes, and what all bones of a file carry in front or behind (``Skeleton1_``, ``.001``).
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from typing import Any

from motionloom.errors import RetargetError

SIDES = ("left", "right")
FINGERS = ("thumb", "index", "middle", "ring", "pinky")
CENTRE = ("root", "hips", "spine", "neck", "head")
LIMBS = ("collar", "upper_arm", "lower_arm", "hand", "upper_leg", "lower_leg", "foot", "toe")
REQUIRED = (
    "hips",
    *(f"{side}_{bone}" for side in SIDES for bone in LIMBS if bone not in ("collar", "toe")),
)
"""Bones without which a rig is no human."""
FINGER_BONES = tuple(f"{side}_{finger}{number}" for side in SIDES for finger in FINGERS for number in (1, 2, 3))
BONES = (*CENTRE, *(f"{side}_{bone}" for side in SIDES for bone in LIMBS), *FINGER_BONES)
"""Every bone a map may name; ``spine`` and ``neck`` may be several nodes."""
_MOSTLY = 0.8
"""Share of the names that must carry a prefix or suffix before it counts as the file's own."""


@dataclass(frozen=True, eq=False)
class Family:
    """A family of names.

    Attributes:
        name: File name of the family.
        title: Whose names they are.
        spelled: Bone -> its names in the family, the first of which is written.
        prefixes: Regular expressions, on plain names, of what may stand in front.
    """

    name: str
    title: str
    spelled: dict[str, tuple[str, ...]]
    prefixes: tuple[str, ...] = ()

    @cached_property
    def lookup(self) -> dict[str, tuple[str, int]]:
        """Plain name -> bone and which of its spellings it is."""
        found: dict[str, tuple[str, int]] = {}
        for bone, names in self.spelled.items():
            for rank, name in enumerate(names):
                found.setdefault(self.bare(plain(name)), (bone, rank))
        return found

    def bare(self, name: str) -> str:
        """A plain name without the family's prefixes."""
        for prefix in self.prefixes:
            if (match := re.match(prefix, name)) and match.end() < len(name):
                return name[match.end() :]
        return name

    def match(self, names: Sequence[str]) -> dict[str, list[int]]:
        """Bone -> the places in ``names`` that are called so; nearest to the first spelling first."""
        found: dict[str, list[tuple[int, int]]] = {}
        for at, name in enumerate(names):
            if hit := self.lookup.get(self.bare(name)):
                found.setdefault(hit[0], []).append((hit[1], at))
        return {bone: [at for _, at in sorted(places)] for bone, places in found.items()}


def plain(name: str) -> str:
    """A name without namespace, separators and letter case; full-width letters become plain ones."""
    name = unicodedata.normalize("NFKC", re.split(r"[:|]", name)[-1] or name)
    return re.sub(r"[\s_.\-]+", "", name).lower()


def plain_names(names: Sequence[str], *, prefix: bool = True) -> list[str]:
    """Plain names without what nearly all of them carry behind and, if wanted, in front."""
    found = [re.split(r"[:|]", name)[-1] or name for name in names]
    if len(found) > 3:
        if tail := _shared(re.search(r"[._]\d{1,3}$", name) for name in found):
            found = [name.removesuffix(tail) for name in found]
        if prefix and (head := _shared(re.match(r"[^\W_]+[\s_.\-]+(?=\w\w)", name) for name in found)):
            found = [name.removeprefix(head) for name in found]
    return [plain(name) for name in found]


def _shared(matches: Iterable[re.Match[str] | None]) -> str:
    """The text that most matches agree on; nothing where they do not."""
    listed = [match.group() if match else "" for match in matches]
    common = max(set(listed), key=listed.count)
    return common if common and listed.count(common) >= _MOSTLY * len(listed) else ""


def parse_family(name: str, table: dict[str, Any]) -> Family:
    """A family from its TOML table.

    Raises:
        RetargetError: A key is unknown, or bones are missing that every body has.
    """
    unknown = set(table) - {"title", "sides", "more_sides", "prefixes", "bones", "fingers"}
    unknown |= set(table.get("bones", {})) - {*CENTRE, *LIMBS}
    if unknown:
        raise RetargetError(f"name family {name!r}: key {sorted(unknown)[0]!r} is unknown")
    pairs = [table["sides"], *table.get("more_sides", [])]
    spelled: dict[str, list[str]] = {}
    for bone, entry in table["bones"].items():
        names = [entry] if isinstance(entry, str) else entry
        if bone in CENTRE:
            spelled[bone] = list(names)
            continue
        for at, side in enumerate(SIDES):
            spelled[f"{side}_{bone}"] = [text.replace("{s}", pair[at]) for pair in pairs for text in names]
    hands = table.get("fingers", {})
    for finger in FINGERS if hands else ():
        numbers = hands.get("thumb_numbers") if finger == "thumb" else None
        numbers = numbers or hands.get("numbers") or ["1", "2", "3"]
        for at, side in enumerate(SIDES):
            for number, word in enumerate(numbers, start=1):
                forms = {"{f}": hands["names"][finger], "{n}": word}
                texts = []
                for pair in pairs:
                    for text in hands["pattern"]:
                        for key, value in (*forms.items(), ("{s}", pair[at])):
                            text = text.replace(key, value)
                        texts.append(text)
                spelled[f"{side}_{finger}{number}"] = texts
    lacking = [bone for bone in REQUIRED if bone not in spelled]
    if lacking:
        raise RetargetError(f"name family {name!r}: {lacking[0]!r} has no name")
    return Family(
        name,
        table.get("title", name),
        {bone: tuple(names) for bone, names in spelled.items()},
        tuple(table.get("prefixes", ())),
    )


@lru_cache(maxsize=1)
def families() -> dict[str, Family]:
    """All families, by name."""
    folder = resources.files("motionloom.motion.rigs.spellings")
    files = sorted((item for item in folder.iterdir() if item.name.endswith(".toml")), key=lambda item: item.name)
    return {
        (name := file.name.removesuffix(".toml")): parse_family(name, tomllib.loads(file.read_text(encoding="utf-8")))
        for file in files
    }


def find_family(name: str) -> Family:
    """A family by its name.

    Raises:
        RetargetError: There is none of that name.
    """
    if name not in families():
        raise RetargetError(f"there is no name family {name!r}; known are {', '.join(families())}")
    return families()[name]


def rank_families(names: Sequence[str]) -> list[tuple[Family, dict[str, list[int]]]]:
    """Families by how well they tell a list of names: required bones first, then all bones.

    Args:
        names: The nodes' names as the file has them.
    """
    # A family that spells what the file's names share (J_Bip_, CC_Base_) is met by names with their prefix.
    forms = plain_names(names), plain_names(names, prefix=False), [plain(name) for name in names]
    found = []
    for family in families().values():
        matches = max((family.match(words) for words in forms), key=lambda match: _score(match))
        found.append((family, matches))
    return sorted(found, key=lambda entry: _score(entry[1]), reverse=True)


def _score(matches: dict[str, list[int]]) -> tuple[int, int, int]:
    return (
        sum(bone in matches for bone in REQUIRED),
        sum(bone in matches for bone in BONES if bone not in FINGER_BONES),
        len(matches) + sum(len(matches.get(bone, ())) for bone in ("spine", "neck")),
    )
