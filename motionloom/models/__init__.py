"""One model is one file: config, network, loss; ``MODELS`` names those that checkpoints can hold."""

from collections.abc import Iterator, Mapping
from importlib import import_module

from torch import nn


class ModelTable(Mapping[str, type[nn.Module]]):
    """Kinds of model and their classes; a class is imported when it is asked for.

    Args:
        places: Each kind with the class as "module:name".
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = dict(places)

    def __getitem__(self, kind: str) -> type[nn.Module]:
        module, _, name = self._places[kind].partition(":")
        return getattr(import_module(module), name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def kind_of(self, model: type) -> str | None:
        """The kind of a class, without importing the others; ``None`` for one that is in no table."""
        place = f"{model.__module__}:{model.__qualname__}"
        return next((kind for kind, known in self._places.items() if known == place), None)


MODELS = ModelTable(
    {
        "tokenizer": "motionloom.models.tokenizers.motion:MotionTokenizer",
        "body_tokenizer": "motionloom.models.tokenizers.body_parts:BodyTokenizer",
        "masked": "motionloom.models.masked.model:MaskedTransformer",
        "length": "motionloom.models.length:LengthPredictor",
        "matcher": "motionloom.models.text_motion.encoder:TextMotionEncoder",
        "parts_tokenizer": "motionloom.models.masked.upper_body:PartsTokenizer",
        "parts_masked": "motionloom.models.masked.upper_body:PartsTransformer",
        "evaluator": "motionloom.models.text_motion.guo:Evaluator",
        "diffusion": "motionloom.models.diffusion.model:DiffusionTransformer",
        "motion_llm": "motionloom.models.language.model:MotionLM",
        "music_tokenizer": "motionloom.models.tokenizers.music:MusicTokenizer",
    }
)
