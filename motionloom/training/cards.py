"""What a trained model owes to whom: its data card, its licence, and its card for people."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motionloom.data.store import Store
from motionloom.licences import (
    WEIGHTS,
    Licence,
    share_alike,
    strictest,
)
from motionloom.models.checkpoint import Checkpoint, load_checkpoint


@dataclass(frozen=True, eq=False)
class Origins:
    """Everything that a model was made from, which its licence follows.

    Attributes:
        store: The training data.
        inputs: What else went in, by its part: a trained model (initial weights, tokenizer), or only a licence
            (text encoder).
    """

    store: Store
    inputs: Mapping[str, Checkpoint | Licence]

    @classmethod
    def of(cls, store: Store, init: str = "", **inputs: Checkpoint | Licence | Path | None) -> "Origins":
        """Gather them.

        Args:
            store: The training data.
            init: Folder of the weights that training started from; empty for random ones.
            **inputs: Further models and licences, by part; folders are loaded, ``None`` is left out.

        Raises:
            CheckpointError: A folder holds no model.
        """
        given = {"initial weights": Path(init) if init else None}
        given |= {name.replace("_", " "): value for name, value in inputs.items()}
        return cls(
            store,
            {
                name: load_checkpoint(value) if isinstance(value, Path) else value
                for name, value in given.items()
                if value is not None
            },
        )

    @property
    def licences(self) -> list[Licence]:
        """All licences that count, also those that inputs inherited."""
        found = list(self.store.licences.values())
        for value in self.inputs.values():
            found += value.licences if isinstance(value, Checkpoint) else [value]
        return found

    @property
    def licence(self) -> str:
        """Licence of the weights: the strictest of all, and at least ``licences.WEIGHTS``."""
        return strictest([WEIGHTS, *self.licences]).name

    @property
    def shares(self) -> dict[str, dict[str, Any]]:
        """Of each licence of the data: clips, hours, its share of the hours, and its facts."""
        seconds = {text: 0.0 for text in self.store.licences}
        clips = dict.fromkeys(seconds, 0)
        for clip in self.store.clips:
            seconds[clip.licence] += clip.seconds
            clips[clip.licence] += 1
        total = sum(seconds.values()) or 1.0
        return {
            text: {
                "clips": clips[text],
                "hours": round(seconds[text] / 3600, 4),
                "share": round(seconds[text] / total, 4),
                **licence.facts(),
            }
            for text, licence in self.store.licences.items()
        }

    @property
    def data(self) -> dict[str, Any]:
        """The data card, as checkpoints keep it."""
        return {
            "store": self.store.digest,
            "sources": self.store.manifest["sources"],
            "licences": self.shares,
            "inputs": {
                name: {
                    "licence": value.licence,
                    "kind": value.kind,
                    "licences": {str(licence): licence.facts() for licence in value.licences},
                }
                if isinstance(value, Checkpoint)
                else {"licence": str(value)}
                for name, value in self.inputs.items()
            },
            "commercial": bool(strictest([WEIGHTS, *self.licences]).commercial),
            "share_alike": list(share_alike(self.licences)),
        }

    @property
    def lines(self) -> list[str]:
        """Sources, licences and inputs in words."""
        rows = [
            f"* {name}: {entry['clips']} clips, {entry['hours']:.2f} h, {entry['licence']}"
            for name, entry in self.store.manifest["sources"].items()
        ]
        rows += ["", "## Licences", "| licence of the data | share | terms |", "|---|---|---|"]
        rows += [
            f"| {_linked(self.store.licences[text])} | {100 * entry['share']:.1f} % of the hours |"
            f" {self.store.licences[text].terms} |"
            for text, entry in self.shares.items()
        ]
        if self.inputs:
            rows += ["", "| also went in | licence | terms |", "|---|---|---|"]
        for name, value in self.inputs.items():
            licence = strictest(value.licences) if isinstance(value, Checkpoint) else value
            rows.append(f"| {name} | {_linked(licence)} | {licence.terms} |")
        shared = share_alike(self.licences)
        strict = strictest([WEIGHTS, *self.licences])
        rows += ["", f"The strictest is {strict.name}: {strict.terms}."]
        if shared:
            rows.append(f"Share-alike: what is made from {', '.join(shared)} must be passed on under that licence.")
        if shared and not strict.share_alike:
            rows.append(f"Its terms and those of {strict.name} may not go together: ask before passing weights on.")
        return rows


def _linked(licence: Licence) -> str:
    return f"[{licence}]({licence.url})" if licence.url else str(licence)


def card(
    title: str, data: Mapping[str, Any], facts: Mapping[str, Any], figures: Mapping[str, float], origins: Origins
) -> str:
    """A model card: what it is, what it was trained on, and how it does on clips it has not seen."""
    rows = [f"| {name} | {value:.4g} |" for name, value in figures.items()]
    return "\n".join(
        [
            f"# {title}",
            "",
            f"Licence: {origins.licence}. Trained by the recipe `{facts['recipe']}`: {facts['steps']} updates of"
            f" {facts['batch']} items, seed {facts['seed']}, data {json.dumps(dict(data))}.",
            "",
            "## Data",
            *origins.lines,
            f"* store {origins.store.digest[:16]}",
            "",
            "## Held-out figures (test split)",
            "| figure | value |",
            "|---|---|",
            *rows,
            "",
        ]
    )
