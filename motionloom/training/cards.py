"""What a trained model owes to whom: data ledger, licence and card."""

import json
from collections.abc import Mapping
from typing import Any

from motionloom.data.store import Store


def ledger(store: Store) -> dict[str, Any]:
    """What a model trained on a store owes to whom."""
    return {"store": store.digest, "sources": store.manifest["sources"]}


def licence(store: Store) -> str:
    """Licence of weights trained on a store: non-commercial as soon as one source is."""
    licences = [entry["licence"] for entry in store.manifest["sources"].values() if entry["clips"]]
    return "CC BY-NC 4.0" if any("NC" in text for text in licences) else "CC BY 4.0"


def card(
    title: str, data: Mapping[str, Any], facts: Mapping[str, Any], figures: Mapping[str, float], store: Store
) -> str:
    """A model card: what it is, what it was trained on, and how it does on clips it has not seen."""
    rows = [f"| {name} | {value:.4g} |" for name, value in figures.items()]
    sources = [
        f"* {name}: {entry['clips']} clips, {entry['hours']:.2f} h, {entry['licence']}"
        for name, entry in store.manifest["sources"].items()
    ]
    return "\n".join(
        [
            f"# {title}",
            "",
            f"Licence: {licence(store)}. Trained by the recipe `{facts['recipe']}`: {facts['steps']} updates of"
            f" {facts['batch']} items, seed {facts['seed']}, data {json.dumps(dict(data))}.",
            "",
            "## Data",
            *sources,
            f"* store {store.digest[:16]}",
            "",
            "## Held-out figures (test split)",
            "| figure | value |",
            "|---|---|",
            *rows,
            "",
        ]
    )
