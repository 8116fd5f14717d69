"""Sentences by CLIP's text tower, or by ImageBind's, where their weights are on disk.

ImageBind took the text tower of OpenCLIP ViT-H/14 as it is (its section 4), so one network serves both; what differs is
where the word states are taken: behind the final layer norm (MMM, with CLIP ViT-B/32), or before it (LMM, with
ImageBind: the 77 x 1024 "trunk tokens" of MotionVerse).

Sources: Radford et al., "CLIP" (arXiv 2103.00020); Girdhar et al., "ImageBind" (arXiv 2305.05665).
"""

import hashlib
import os
import pickle
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional as F

from motionloom.conditions.text import MiniLM, TextEncoder, TextFeatures, check_text, minilm, padded
from motionloom.errors import CheckpointError, RequestError
from motionloom.licences import IMAGEBIND as IMAGEBIND_LICENCE
from motionloom.licences import NOT_GIVEN, Licence, licence_of

FOLDER = "MOTIONLOOM_TEXT_ENCODER"
"""Environment variable with the folder of the weights, for models that were trained with them."""
IMAGEBIND = "imagebind_huge.pth"
FAMILIES = {"clip": "CLIP (ViT-B/32 in the released models)", "imagebind": "ImageBind"}
"""Encoders of which the digest is not known, because a model was imported without them."""
_HEAD = 64
"""Channels of a head in every published tower."""
_BLOCK = {
    "layer_norm1": "norm_1", "layer_norm2": "norm_2", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip


class Clip:
    """A text tower of the CLIP family; its answers are kept, so a sentence is encoded once a process.

    The sentence is the projected state of its end, not normalised; the words are the states from its beginning to its
    end, with those two.

    Args:
        folder: A ``transformers`` directory of CLIP, or one with ImageBind's ``imagebind_huge.pth`` and CLIP's
            ``tokenizer.json`` (or ``vocab.json`` and ``merges.txt``).

    Raises:
        CheckpointError: The folder holds neither.
    """

    def __init__(self, folder: str | Path) -> None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        from transformers import CLIPTextModelWithProjection, CLIPTokenizer

        folder = Path(folder)
        words = [name for name in ("tokenizer.json", "vocab.json") if (folder / name).is_file()]
        published = (folder / IMAGEBIND).is_file()
        if not words or not (published or (folder / "config.json").is_file()):
            raise CheckpointError(
                f"{folder} holds no text tower: config.json with weights, or {IMAGEBIND}, and tokenizer.json are needed"
            )
        try:
            self.tokenizer: Any = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            if published:
                model, missing = imagebind_tower(folder / IMAGEBIND, self.tokenizer), []
            else:
                # Its type does not say that it answers with a pair when it is asked what was missing.
                load: Any = CLIPTextModelWithProjection.from_pretrained
                model, told = load(folder, local_files_only=True, dtype=torch.float32, output_loading_info=True)
                missing = sorted(told["missing_keys"])
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(f"{folder} cannot be read: {' '.join(str(error).split())[:200]}") from None
        # transformers would go on with random numbers in their place.
        if missing:
            raise CheckpointError(f"{folder} holds no text tower with a projection: {missing[0]} is missing")
        self.model: Any = model.eval()
        config = self.model.config
        self.trunk, self.max_pieces = published, int(config.max_position_embeddings) - 2
        self.sentence_dim, self.word_dim = int(config.projection_dim), int(config.hidden_size)
        self.name = f"{'imagebind' if published else 'clip'}-{_digest(self.model)}"
        self.licence = IMAGEBIND_LICENCE if published else _stated_licence(folder)
        self.cache: dict[str, TextFeatures] = {}

    def __call__(self, texts: list[str]) -> TextFeatures:
        """Encode sentences; see ``TextEncoder``."""
        texts = [check_text(text) for text in texts]
        for text in dict.fromkeys(texts):
            if text not in self.cache:
                self.cache[text] = self.encode([text])
        return padded([self.cache[text] for text in texts])

    @torch.no_grad()
    def slots(self, texts: list[str]) -> TextFeatures:
        """Sentences one by one, with all word slots; see ``word_slots``."""
        sentences = self(texts)
        rows = []
        for text in texts:
            ids = self.tokenizer([check_text(text)], truncation=False, return_tensors="pt")["input_ids"]
            filled = F.pad(ids, (0, self.max_pieces + 2 - ids.shape[1]))
            rows.append(self.model(input_ids=filled).last_hidden_state.float())
        words = torch.cat(rows)
        return TextFeatures(sentences.sentence, words, torch.ones(words.shape[:2], dtype=torch.bool))

    @torch.no_grad()
    def encode(self, texts: list[str]) -> TextFeatures:
        """Encode sentences in one pass; fast for many, but their last bits depend on the padding.

        Raises:
            RequestError: A sentence has more word pieces than the tower reads, or holds one of its control pieces.
        """
        for text in texts:
            held = [piece for piece in self.tokenizer.all_special_tokens if piece in text]
            if held:
                raise RequestError(f"the text {text[:60]!r} holds the control piece {held[0]!r}: leave it out")
        batch = self.tokenizer(texts, padding=True, truncation=False, return_tensors="pt")
        ids, valid = batch["input_ids"], batch["attention_mask"].bool()
        longest = int(valid.sum(1).max()) - 2
        if longest > self.max_pieces:
            raise RequestError(
                f"a text has {longest} word pieces, at most {self.max_pieces} are read by {self.name}: shorten it"
            )
        # Attention is causal: no piece sees the padding behind it.
        output = self.model(input_ids=ids, output_hidden_states=True)
        words = output.hidden_states[-1] if self.trunk else output.last_hidden_state
        return TextFeatures(output.text_embeds.float(), words.float().masked_fill(~valid[..., None], 0.0), valid)


def word_slots(encoder: TextEncoder, texts: list[str]) -> TextFeatures:
    """Sentences with the states of all of a tower's word slots, also of those behind a sentence's end.

    MMM's published transformer attends to all 77, padding included, as OpenAI's tokenizer fills them: with zeros.

    Raises:
        CheckpointError: The encoder is no tower of CLIP.
        RequestError: See ``Clip.encode``.
    """
    if not isinstance(encoder, Clip) or encoder.trunk:
        raise CheckpointError(f"this model reads the 77 word slots of CLIP; {encoder.name} has none")
    return encoder.slots(texts)


def _stated_licence(folder: Path) -> Licence:
    """What the folder's ``README.md`` says, in the ``license:`` line that model hubs have there; else not given."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace")[:4096] if card.is_file() else ""
    found = re.search(r"^license:\s*(\S.*?)\s*$", text, re.MULTILINE)
    return licence_of(found[1]).of("CLIP text tower") if found else NOT_GIVEN.of("CLIP text tower")


def imagebind_tower(file: Path, tokenizer: Any) -> Any:
    """ImageBind's text tower as a ``CLIPTextModelWithProjection``; the file's other towers are left out.

    Raises:
        CheckpointError: The file holds no such tower.
    """
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    try:
        # Mapped, not read: nine tenths of the file are other towers. Tensors only, never a stranger's objects.
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{file} cannot be read: {' '.join(str(error).split())[:160]}") from None
    places = (re.fullmatch(r"modality_trunks\.text\.blocks\.(\d+)\..*", key) for key in state)
    blocks = [int(place[1]) for place in places if place]
    head = "modality_heads.text.proj"
    table, positions = "modality_preprocessors.text.token_embedding.weight", "modality_preprocessors.text.pos_embed"
    wanted = (table, positions, f"{head}.0.weight", f"{head}.1.weight")
    missing = [key for key in wanted if key not in state]
    if missing or not blocks:
        raise CheckpointError(f"{file} holds no text tower of ImageBind: {(missing or ['its blocks'])[0]} is missing")
    rows, width = state[table].shape
    config = CLIPTextConfig(
        vocab_size=rows,
        hidden_size=width,
        intermediate_size=state["modality_trunks.text.blocks.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=max(blocks) + 1,
        num_attention_heads=max(1, width // _HEAD),
        projection_dim=state[f"{head}.1.weight"].shape[0],
        max_position_embeddings=state[positions].shape[1],
        hidden_act="gelu",
        layer_norm_eps=1e-6,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    found: dict[str, Tensor] = {
        "text_model.embeddings.token_embedding.weight": state[table],
        "text_model.embeddings.position_embedding.weight": state[positions][0],
        "text_projection.weight": state[f"{head}.1.weight"],
    }
    for kind in ("weight", "bias"):
        found[f"text_model.final_layer_norm.{kind}"] = state[f"{head}.0.{kind}"]
        for block in range(max(blocks) + 1):
            to, of = f"text_model.encoder.layers.{block}", f"modality_trunks.text.blocks.{block}"
            found |= {f"{to}.{ours}.{kind}": state[f"{of}.{theirs}.{kind}"] for ours, theirs in _BLOCK.items()}
            three = state[f"{of}.attn.in_proj_{kind}"].chunk(3)
            found |= {f"{to}.self_attn.{name}_proj.{kind}": part for name, part in zip("qkv", three, strict=True)}
    with torch.random.fork_rng(devices=[]):
        model = CLIPTextModelWithProjection(config)
    model.load_state_dict({name: value.float() for name, value in found.items()}, strict=True)
    return model


def text_encoder(source: str | Path = MiniLM.name) -> TextEncoder:
    """An encoder of sentences: ``minilm``, or that of a folder; see ``Clip``."""
    return minilm() if str(source) == MiniLM.name else _kept(Path(source).resolve())


def named_encoder(name: str, *, sentence_dim: int | None = None, word_dim: int | None = None) -> TextEncoder:
    """The encoder that a model was trained with; all but MiniLM are in the folder that ``FOLDER`` names.

    Args:
        name: Its name; or "clip" or "imagebind" for any of that family, where weights were imported without it.
        sentence_dim: Size of the sentences that the model reads; ``None`` for any.
        word_dim: The same of words.

    Raises:
        CheckpointError: No folder is named, or it holds another encoder.
    """
    if name == MiniLM.name:
        return minilm()
    folder = os.environ.get(FOLDER)
    if not folder:
        called = FAMILIES.get(name, name)
        raise CheckpointError(
            f"this model reads sentences by {called}: name the folder of its weights in the environment variable"
            f" {FOLDER}"
        )
    found = text_encoder(folder)
    if found.name != name and not (name in FAMILIES and found.name.startswith(f"{name}-")):
        raise CheckpointError(f"this model reads sentences by {name}, {folder} ({FOLDER}) holds {found.name}")
    for what, size, wanted in (
        ("sentences", found.sentence_dim, sentence_dim),
        ("words", found.word_dim, word_dim),
    ):
        if wanted is not None and size != wanted:
            raise CheckpointError(
                f"this model reads {what} of {wanted} numbers, those of {found.name} in {folder} ({FOLDER}) have"
                f" {size}: it needs {FAMILIES.get(name, name)}"
            )
    return found


@lru_cache(maxsize=2)
def _kept(folder: Path) -> Clip:
    return Clip(folder)


def _digest(model: Any) -> str:
    """Which weights these are, by what differs between any two trainings: token table and projection."""
    digest = hashlib.sha256()
    parts: list[Float[Tensor, "A B"]] = [
        model.text_model.embeddings.token_embedding.weight, model.text_projection.weight
    ]  # fmt: skip
    for part in parts:
        digest.update(part.detach().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]
