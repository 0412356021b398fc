"""Random weights for a MusicGen, scaled so that an untrained model still behaves like one.

transformers' own initialisation would do for a shape, but not for a sound: its heads give nearly equal logits, its
codebooks are zero, so that every sound is the same, and its norms are the identity, so that a reader who forgot one
would not notice. Here every layer keeps roughly unit variance, logits have a spread of `LOGIT_STD`, sound comes out
near `SOUND_RMS`, and no tensor that decoding reads is left at zero or one.

Draws are uniform and made of the generator's integers by one product and one sum in IEEE arithmetic, so that a seed
gives the same bytes on every machine; torch's normal draws differ in the last bits between instruction sets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import MusicgenConfig

LOGIT_STD = 3.0
SOUND_RMS = 0.1

# A query's scores would have unit variance and attend to everything alike; this much more picks something out.
_QUERY_STD = 2.0

# How far norms are drawn from the identity, and biases from zero.
_JITTER_STD = 0.1

# E[elu(x)^2] for x ~ N(0, 1): what the activation before each of the codec's convolutions leaves of unit variance.
_ELU_POWER = 0.645


def draw_weights(shapes: Mapping[str, tuple[int, ...]], config: MusicgenConfig, seed: int) -> dict[str, Tensor]:
    """A float32 tensor for every name of a `MusicgenForConditionalGeneration` state dict.

    shapes: by those names; those of the codec with weight norm in torch's own spelling (`parametrizations`).
    """
    draw = _Draw(torch.Generator().manual_seed(seed))
    weights = {}
    for name in sorted(shapes):
        part, _, rest = name.partition(".")
        if part == "audio_encoder":
            weights[name] = _codec_tensor(draw, name, shapes, config)
        elif part == "text_encoder":
            weights[name] = _text_encoder_tensor(draw, rest, shapes[name], config)
        else:
            weights[name] = _language_model_tensor(draw, name, shapes[name], config)
    # The encoder's table is the shared one, under a second name.
    weights["text_encoder.encoder.embed_tokens.weight"] = weights["text_encoder.shared.weight"]
    return weights


class _Draw:
    """Uniform draws of a given standard deviation and mean."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def __call__(self, shape: tuple[int, ...], std: float, mean: float = 0.0) -> Tensor:
        half = 1 << 23
        integers = torch.randint(-half, half, shape, generator=self._generator, dtype=torch.int32)
        return integers.float().mul_(std * math.sqrt(3.0) / half).add_(mean)

    def norm_or_bias(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return self(shape, _JITTER_STD, mean=0.0 if name.endswith("bias") else 1.0)


def _text_encoder_tensor(draw: _Draw, name: str, shape: tuple[int, ...], config: MusicgenConfig) -> Tensor:
    if "layer_norm" in name:
        return draw.norm_or_bias(name, shape)
    if name.endswith(("shared.weight", "embed_tokens.weight", "relative_attention_bias.weight")):
        return draw(shape, 1.0)
    if name.endswith("SelfAttention.q.weight"):
        # T5 doesn't divide its scores by the square root of the head's width; its queries are small instead.
        return draw(shape, _QUERY_STD / math.sqrt(shape[-1] * config.text_encoder.d_kv))
    return draw(shape, 1.0 / math.sqrt(shape[-1]))


def _language_model_tensor(draw: _Draw, name: str, shape: tuple[int, ...], config: MusicgenConfig) -> Tensor:
    if "layer_norm" in name or name.endswith("bias"):
        return draw.norm_or_bias(name, shape)
    if "embed_tokens" in name:
        return draw(shape, 1.0 / math.sqrt(config.decoder.num_codebooks))
    if "lm_heads" in name:
        return draw(shape, LOGIT_STD / math.sqrt(shape[-1]))
    std = _QUERY_STD if name.endswith("q_proj.weight") else 1.0
    return draw(shape, std / math.sqrt(shape[-1]))


def _codec_tensor(draw: _Draw, name: str, shapes: Mapping[str, tuple[int, ...]], config: MusicgenConfig) -> Tensor:
    shape, codec = shapes[name], config.audio_encoder
    if name.endswith((".embed", ".embed_avg")):
        return draw(shape, 1.0 / math.sqrt(codec.num_quantizers))
    if name.endswith((".inited", ".cluster_size")):
        return torch.ones(shape)
    if ".lstm." in name:
        return draw(shape, _JITTER_STD if ".bias_" in name else 1.0 / math.sqrt(shape[-1]))
    is_output = name.startswith("audio_encoder.decoder") and shapes[_bias_beside(name)] == (codec.audio_channels,)
    level = SOUND_RMS if is_output else 1.0
    if name.endswith("bias"):
        return draw(shape, _JITTER_STD * level)
    if name.endswith("original1"):
        return draw(shape, 1.0 / math.sqrt(math.prod(shape[1:])))
    gain = level * _unit_gain(name, shapes)
    return draw(shape, _JITTER_STD * gain, mean=gain)


def _bias_beside(name: str) -> str:
    """The name of the bias of the convolution that a tensor belongs to."""
    return name.removesuffix(".bias").rpartition(".parametrizations")[0] + ".bias" if "original" in name else name


def _unit_gain(name: str, shapes: Mapping[str, tuple[int, ...]]) -> float:
    """The norm of a convolution's filters with which what goes in with unit variance comes out with it."""
    filters = shapes[name.removesuffix("original0") + "original1"]
    (out_channels,) = shapes[_bias_beside(name)]
    if name.removeprefix("audio_encoder.").startswith(("encoder.layers.0.", "decoder.layers.0.")):
        return 1.0
    gain = 1.0 / math.sqrt(_ELU_POWER)
    if ".block.3." in name:
        # The end of a residual branch: it adds a quarter to the variance of what it is added to.
        return gain / 2
    if out_channels != filters[0]:
        # Transposed, so the norm is over one input's filters; its stride is half its width, so two taps of each meet.
        return gain * math.sqrt(out_channels * filters[2] / 2 / filters[0])
    return gain
