"""One model is one file: config, network, loss; ``MODELS`` names those that checkpoints can hold."""

from torch import nn

from motionloom.models.body_tokenizer import BodyTokenizer
from motionloom.models.diffusion import DiffusionTransformer
from motionloom.models.evaluator import Evaluator
from motionloom.models.length import LengthPredictor
from motionloom.models.masked import MaskedTransformer
from motionloom.models.matcher import Matcher
from motionloom.models.motion_llm import MotionLM
from motionloom.models.music_tokenizer import MusicTokenizer
from motionloom.models.parts import PartsTokenizer, PartsTransformer
from motionloom.models.tokenizer import MotionTokenizer

MODELS: dict[str, type[nn.Module]] = {
    "tokenizer": MotionTokenizer,
    "body_tokenizer": BodyTokenizer,
    "masked": MaskedTransformer,
    "length": LengthPredictor,
    "matcher": Matcher,
    "parts_tokenizer": PartsTokenizer,
    "parts_masked": PartsTransformer,
    "evaluator": Evaluator,
    "diffusion": DiffusionTransformer,
    "motion_llm": MotionLM,
    "music_tokenizer": MusicTokenizer,
}
