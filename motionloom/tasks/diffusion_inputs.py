"""What the diffusion model is given as conditions: the same tokens in training and when it is asked.

Text is a sentence's vector and then the states of its words, all of one size; video is one row of keypoints a frame.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motionloom.conditions.text import TextFeatures


def text_tokens(
    texts: TextFeatures, center: Float[Tensor, " E"], scale: Float[Tensor, " E"]
) -> tuple[Float[Tensor, "B M E"], Bool[Tensor, "B M"]]:
    """Texts as tokens, and which of them exist.

    Args:
        texts: Of the encoder that was trained with.
        center: Mean of the sentence vectors of the training captions.
        scale: Their spread.
    """
    sentence = (texts.sentence - center) / scale
    tokens = torch.cat((sentence[:, None], texts.words), dim=1)
    return tokens, torch.cat((texts.valid.new_ones(len(tokens), 1), texts.valid), dim=1)
