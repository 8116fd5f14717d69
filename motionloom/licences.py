"""Licences of data, weights and motions as facts: who may use them for what, and which of several is the strictest.

A licence that nobody stated counts as non-commercial: no permission was given. What a model learned from decides what
may be done with its weights and with its motions, so the strictest licence follows every input: data, the weights that
training started from, tokenizers, length predictors and text encoders.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Licence:
    """Terms of use.

    Attributes:
        name: As it is cited, for example "CC BY-NC 4.0".
        url: Where its text is; empty if that is not known.
        commercial: Whether commercial use is allowed; ``None`` where nobody said so, which counts as not allowed.
        share_alike: Whether what is made from it must carry the same licence.
        derivatives: Whether changed versions may be passed on.
        research: Whether it allows research only.
        credit: Whether its holder must be named.
        holder: Who is to be named, or what the licence covers.
    """

    name: str
    url: str
    commercial: bool | None
    share_alike: bool = False
    derivatives: bool = True
    research: bool = False
    credit: bool = True
    holder: str = ""

    def __str__(self) -> str:
        """As stores, cards and motions cite it."""
        return f"{self.name} ({self.holder})" if self.holder else self.name

    @property
    def strictness(self) -> tuple[bool, ...]:
        """Sorts licences: the larger, the less is allowed."""
        return (
            self.commercial is None, not self.commercial, self.research, not self.derivatives, self.share_alike,
            self.credit,
        )  # fmt: skip

    @property
    def terms(self) -> str:
        """What it asks for, in words."""
        use = {True: "commercial use allowed", False: "non-commercial", None: "not stated: counts as non-commercial"}
        more = [
            word
            for said, word in (
                (self.research, "research only"),
                (not self.derivatives, "no derivatives"),
                (self.share_alike, "share-alike"),
            )
            if said
        ]
        return ", ".join((use[self.commercial], *more))

    def of(self, holder: str) -> "Licence":
        """The same licence given by somebody."""
        return Licence(**{**asdict(self), "holder": holder})

    def facts(self) -> dict[str, Any]:
        """Its fields, for JSON."""
        return asdict(self)


def _cc(kind: str, version: str, *, holder: str = "") -> Licence:
    return Licence(
        f"CC {kind} {version}",
        f"https://creativecommons.org/licenses/{kind.lower()}/{version}/",
        commercial="NC" not in kind,
        share_alike="SA" in kind,
        derivatives="ND" not in kind,
        holder=holder,
    )


CC0 = Licence("CC0", "https://creativecommons.org/publicdomain/zero/1.0/", True, credit=False)
CC0_1 = Licence("CC0 1.0", CC0.url, True, credit=False)
PDDL = Licence("ODC PDDL 1.0", "https://opendatacommons.org/licenses/pddl/1-0/", True, credit=False)
CC_BY = _cc("BY", "4.0")
CC_BY_NC = _cc("BY-NC", "4.0")
CC_BY_NC_ND = _cc("BY-NC-ND", "4.0")
CC_BY_SA_3 = _cc("BY-SA", "3.0")
MIT = Licence("MIT", "https://opensource.org/license/mit", True)
APACHE = Licence("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", True)
LGPL_2_1 = Licence("LGPL 2.1", "https://www.gnu.org/licenses/old-licenses/lgpl-2.1.html", True, share_alike=True)
NOT_GIVEN = Licence("not given", "", None)

CMU = Licence("CMU mocap (free for any use; credit mocap.cs.cmu.edu)", "http://mocap.cs.cmu.edu", True)
BANDAI = CC_BY_NC.of("Bandai Namco Research Inc.")
STYLE100 = CC_BY.of("100STYLE; Mason, Starke, Komura")
LAFAN1 = CC_BY_NC_ND.of("Ubisoft La Forge animation dataset")
KIT = Licence(
    "KIT Motion-Language Dataset (research; motions under the KIT database's terms)",
    "https://motion-annotation.humanoids.kit.edu/dataset/", None, research=True,
)  # fmt: skip
AMASS = Licence(
    "AMASS licence (non-commercial research)", "https://amass.is.tue.mpg.de/license.html", False, research=True
)
BABEL = Licence(
    "BABEL licence and AMASS licence (non-commercial research)", "https://babel.is.tue.mpg.de/license.html", False,
    research=True,
)  # fmt: skip
HUMANML3D = Licence(
    "HumanML3D (MIT) on AMASS and HumanAct12 (non-commercial research)", "https://github.com/EricGuo5513/HumanML3D",
    False, research=True,
)  # fmt: skip
MOTION_X = Licence(
    "Motion-X licence (non-commercial research); subsets under their own terms",
    "https://motion-x-dataset.github.io", False, research=True,
)  # fmt: skip
HUMANACT12 = Licence(
    "HumanAct12 / PHSPD (non-commercial research)", "https://ericguo5513.github.io/action-to-motion/", False,
    research=True,
)  # fmt: skip
UESTC = Licence("UESTC RGB-D (research only)", "https://github.com/HRI-UESTC/CFM-HRI-RGB-D-action-database", False,
                research=True)  # fmt: skip
NTU = Licence(
    "NTU RGB+D 120 (research only, on request)", "https://rose1.ntu.edu.sg/dataset/actionRecognition/", False,
    research=True,
)  # fmt: skip
# The annotations are free; whether the music and the pictures that come with them are, their terms do not say.
AIST = Licence(
    "CC BY 4.0 (AIST++ annotations, Google; music and video: AIST Dance DB terms)",
    "https://google.github.io/aistplusplus_dataset/", None,
)  # fmt: skip
FINEDANCE = Licence("FineDance (non-commercial research)", "https://github.com/li-ronghui/FineDance", False,
                    research=True)  # fmt: skip
BEAT = Licence("BEAT (non-commercial research)", "https://pantomatrix.github.io/BEAT/", False, research=True)
TED = Licence(
    "TED-Gesture++ (non-commercial research; talks: TED, CC BY-NC-ND 4.0)",
    "https://github.com/alvinliu0/HA2G", False, derivatives=False, research=True,
)  # fmt: skip
TED_EXPRESSIVE = Licence(
    "TED-Expressive (non-commercial research; talks: TED, CC BY-NC-ND 4.0)",
    "https://github.com/alvinliu0/HA2G", False, derivatives=False, research=True,
)  # fmt: skip
S2G3D = Licence("Speech-gesture dataset of Takeuchi et al. (research)", "", None, research=True)
PW3D = Licence(
    "3DPW (non-commercial research)", "https://virtualhumans.mpi-inf.mpg.de/3DPW/license.html", False, research=True
)
H36M = Licence("Human3.6M (academic use)", "http://vision.imar.ro/human3.6m/eula.php", False, research=True)
MPI = Licence(
    "MPI-INF-3DHP (non-commercial research)", "https://vcai.mpi-inf.mpg.de/3dhp-dataset/", False, research=True
)
SYNTHETIC = CC0.of("made up")
SMARTBODY = LGPL_2_1.of("SmartBody, USC Institute for Creative Technologies")
UI_PRMD = PDDL.of("UI-PRMD, University of Idaho")
HDM05 = CC_BY_SA_3.of("HDM05, Universität Bonn")
MESH2MOTION = CC0_1.of("Mesh2Motion, Scott Petrovic and contributors")
IMAGEBIND = CC_BY_NC.of("ImageBind, Meta")

WEIGHTS = CC_BY
"""Licence that motionloom gives weights it trained, where no input is stricter."""

_KNOWN = {str(value): value for value in list(vars().values()) if isinstance(value, Licence)}
_SPELLED = {
    r"CC0(?:[ -]1\.0)?": CC0,
    r"(?:ODC )?PDDL(?:[ -]1\.0)?": PDDL,
    r"MIT(?: licen[cs]e)?": MIT,
    r"Apache[ -]2\.0": APACHE,
    r"LGPL[ -]v?2\.1": LGPL_2_1,
    r"BSD[ -][23][ -]clause": Licence("BSD", "https://opensource.org/license/bsd-3-clause", True),
}


def licence_of(text: str, known: Mapping[str, Mapping[str, Any]] | None = None) -> Licence:
    """The licence that a text cites.

    Args:
        text: As a store, a card, a ``captions.csv`` or a checkpoint has it. Well-known licences are recognised, with
            what stands in brackets behind them as the holder; of several, joined by "; ", the strictest counts.
        known: Facts of licences by their text, as stores and data cards keep them.

    Returns:
        For a text that is not known, one of that name whose ``commercial`` is ``None``; False if it says so.
    """
    text = " ".join(text.split())
    if known is not None and text in known:
        return from_facts(known[text])
    if text in _KNOWN:
        return _KNOWN[text]
    if "; " in text and "(" not in text:
        return strictest(licence_of(part) for part in text.split("; "))
    found = re.fullmatch(r"(.+?)(?: \(([^()]*)\))?", text)
    name, holder = (found[1], found[2] or "") if found else (text, "")
    for pattern, licence in _SPELLED.items():
        if re.fullmatch(pattern, name, re.IGNORECASE):
            return licence.of(holder)
    if spelled := re.fullmatch(r"CC[ -](BY(?:-(?:NC|SA|ND|NC-SA|NC-ND))?)[ -](\d\.\d)", name, re.IGNORECASE):
        return _cc(spelled[1].upper(), spelled[2], holder=holder)
    if not text:
        return NOT_GIVEN
    denied = re.search(r"non-?commercial|\bNC\b|research only|academic", text, re.IGNORECASE)
    return Licence(text, "", False if denied else None)


def from_facts(facts: Mapping[str, Any]) -> Licence:
    """A licence of its fields; those that are missing or of another type count as the strictest."""
    names = {entry.name: entry.type for entry in fields(Licence)}
    texts = {name: facts.get(name) if isinstance(facts.get(name), str) else "" for name in ("name", "url", "holder")}
    commercial = facts.get("commercial")
    flags = {
        name: bool(facts.get(name, name in ("share_alike", "research", "credit")))
        for name in names
        if name in ("share_alike", "derivatives", "research", "credit")
    }
    return Licence(**texts, commercial=commercial if isinstance(commercial, bool) else None, **flags)  # type: ignore[arg-type]


def strictest(licences: Iterable[Licence]) -> Licence:
    """The licence that allows least; of equally strict ones the first, and "not given" of none."""
    found = list(licences)
    return max(found, key=lambda licence: licence.strictness) if found else NOT_GIVEN


def share_alike(licences: Iterable[Licence]) -> tuple[str, ...]:
    """The licences among these that what is made from them must carry too."""
    return tuple(sorted({str(licence) for licence in licences if licence.share_alike}))


def licences_in(data: Any) -> list[Licence]:
    """Every licence that the data card of a checkpoint names, also in those of its inputs."""
    if not isinstance(data, Mapping):
        return []
    found: list[Licence] = []
    listed = data.get("licences")
    facts: Mapping[Any, Any] = listed if isinstance(listed, Mapping) else {}
    known = {text: entry for text, entry in facts.items() if isinstance(entry, Mapping) and "commercial" in entry}
    found += [licence_of(str(text), known) for text in facts]
    sources = data.get("sources")
    for entry in sources.values() if isinstance(sources, Mapping) and not facts else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("licence"), str) and entry.get("clips", 1):
            found.append(licence_of(entry["licence"]))
    inputs = data.get("inputs")
    for entry in inputs.values() if isinstance(inputs, Mapping) else ():
        if isinstance(entry, Mapping):
            found += [licence_of(entry["licence"])] if isinstance(entry.get("licence"), str) else []
            found += licences_in(entry)
    return found
