"""One model is one file: config, network, loss; ``MODELS`` names those that checkpoints can hold."""

from torch import nn

from motionloom.models.diffusion.model import DiffusionTransformer
from motionloom.models.language.model import MotionLM
from motionloom.models.length import LengthPredictor
from motionloom.models.masked.model import MaskedTransformer
from motionloom.models.masked.upper_body import PartsTokenizer, PartsTransformer
from motionloom.models.text_motion.encoder import Matcher
from motionloom.models.text_motion.guo import Evaluator
from motionloom.models.tokenizers.body_parts import BodyTokenizer
from motionloom.models.tokenizers.motion import MotionTokenizer
from motionloom.models.tokenizers.music import MusicTokenizer

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
