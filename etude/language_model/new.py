"""A MusicGen that knows nothing yet, around a codec that is trained."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import nn
from transformers import EncodecModel, MusicgenForConditionalGeneration

from etude.random_checkpoint import Shape
from etude.vocabulary import tokenizer

# Nearly equal odds for every code: a loss of ln(vocab) to begin with.
_HEAD_STD = 0.02

# Of the sum of a column's embeddings; the positions it is added to have 0.71.
_COLUMN_STD = 0.5

# What ends a residual branch.
_LAST_IN_BRANCH = ("self_attn.out_proj", "encoder_attn.out_proj", "fc2")


def new_musicgen(codec: EncodecModel, shape: Shape, seed: int) -> MusicgenForConditionalGeneration:
    """float32, with that very codec. shape: what it says of the codec is the codec's own; its dtype is passed over.

    The text encoder begins as T5 does. In the decoder every matrix keeps the variance of what goes in, those that end
    a residual branch so much less that all branches together add as much as there was; heads are nearly zero.
    """
    shape = dataclasses.replace(
        shape, codebooks=shape.channels * codec.config.num_quantizers, vocab=codec.config.codebook_size
    )
    config = shape.config(len(tokenizer()))
    config.audio_encoder = codec.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MusicgenForConditionalGeneration(config)
        branches = len(_LAST_IN_BRANCH) * shape.layers
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear) and name.startswith(("decoder.", "enc_to_dec_proj")):
                std = 1 / math.sqrt(module.in_features)
                if name.endswith(_LAST_IN_BRANCH):
                    std /= math.sqrt(branches)
                nn.init.normal_(module.weight, std=_HEAD_STD if ".lm_heads." in name else std)
            elif isinstance(module, nn.Embedding) and name.startswith("decoder."):
                nn.init.normal_(module.weight, std=_COLUMN_STD / math.sqrt(shape.codebooks))
    model.audio_encoder = codec
    return model
