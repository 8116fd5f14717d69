"""MoMask's networks: residual tokenizer, masked and residual transformers, length estimator."""

from torch import nn

from motionloom.models.momask.tokenizer import ResidualTokenizer
from motionloom.models.momask.transformers import MoMaskLength, MoMaskTransformer, ResidualTransformer

KINDS: dict[str, type[nn.Module]] = {
    "residual_tokenizer": ResidualTokenizer,
    "momask_base": MoMaskTransformer,
    "momask_residual": ResidualTransformer,
    "momask_length": MoMaskLength,
}
"""What checkpoints of this family can hold."""
