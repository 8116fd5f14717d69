"""A BERT encoder in plain torch, for sentences.

``transformers`` would do the same, but importing its BERT costs four CPU seconds, more than making a motion; this
module and the ``tokenizers`` library cost a tenth of one. ``tests/conditions/test_bert.py`` holds the two against
each other.

Source: Devlin et al., "BERT" (NAACL 2019); files as ``transformers`` writes them.
"""

import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from motionloom.errors import CheckpointError


class Bert(nn.Module):
    """Post-norm transformer encoder with learned positions.

    Args:
        config: Content of the model's ``config.json``.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
            raise CheckpointError(f"a BERT with exact GELU is needed; got {config.get('model_type')!r}")
        width, eps = config["hidden_size"], config["layer_norm_eps"]
        self.words = nn.Embedding(config["vocab_size"], width)
        self.places = nn.Embedding(config["max_position_embeddings"], width)
        self.kinds = nn.Embedding(config["type_vocab_size"], width)
        self.norm = nn.LayerNorm(width, eps)
        self.layers = nn.ModuleList(
            _Layer(width, config["num_attention_heads"], config["intermediate_size"], eps)
            for _ in range(config["num_hidden_layers"])
        )

    @classmethod
    def load(cls, folder: Path) -> "Bert":
        """Read ``config.json`` and ``model.safetensors``.

        Raises:
            CheckpointError: The weights are of another kind or shape.
        """
        model = cls(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        state = {}
        for name, value in load_file(folder / "model.safetensors").items():
            ours = _our_name(name)
            if ours:
                state[ours] = value.float()
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(f"{folder} holds other weights than its config says: {str(error)[:200]}") from None
        return model.eval()

    def forward(self, ids: Int[Tensor, "B M"], valid: Bool[Tensor, "B M"]) -> Float[Tensor, "B M W"]:
        """States of all word pieces; what stands in places that are not valid does not matter to the others."""
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.norm(self.words(ids) + self.kinds.weight[0] + self.places(places))
        mask = valid[:, None, None, :]
        for layer in self.layers:
            x = layer(x, mask)
        return x


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, inner: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.proj, self.norm1 = nn.Linear(width, width), nn.LayerNorm(width, eps)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm2 = nn.LayerNorm(width, eps)

    def forward(self, x: Float[Tensor, "B M W"], mask: Bool[Tensor, "B 1 1 M"]) -> Float[Tensor, "B M W"]:
        query, key, value = (
            part(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = self.norm1(x + self.proj(seen.transpose(1, 2).flatten(2)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


_NAMES = {
    "embeddings.word_embeddings": "words",
    "embeddings.position_embeddings": "places",
    "embeddings.token_type_embeddings": "kinds",
    "embeddings.LayerNorm": "norm",
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "norm2",
}


def _our_name(name: str) -> str:
    """The name of a tensor here; empty for those not needed (pooler, fixed position ids).

    Raises:
        CheckpointError: The tensor is no part of a BERT encoder.
    """
    if name.startswith("pooler.") or name == "embeddings.position_ids":
        return ""
    stem, _, kind = name.rpartition(".")
    prefix = ""
    if stem.startswith("encoder.layer."):
        _, _, number, stem = stem.split(".", 3)
        prefix = f"layers.{number}."
    if stem not in _NAMES:
        raise CheckpointError(f"tensor {name!r} is no part of a BERT encoder")
    return f"{prefix}{_NAMES[stem]}.{kind}"
