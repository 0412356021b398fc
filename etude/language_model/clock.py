"""A clock that words set: what a decoder is given to know, in every frame, where in the bar it is.

When the next beat is due is a product of two things, the tempo that the text says and the frame's number; of the music
only the first bar needs it, from then on what was played tells. A small model finds hardly any of it in a night. But
attention is such a product: positions are sinusoids, a bar's cosine is a sum of the few of them that turn nearly as
fast, and which sum is a matter of the tempo. So the first layer's cross-attention begins as four heads that look at the
text's last token, where the text encoder says the tempo (`etude.teach_text`), each around its own beat of a bar of
four: of queries that hold the sinusoids, and keys that hold the sum. To be read, these sinusoids have to be alone:
embeddings and the layer's self-attention are silent in their places, and training keeps them so (`trainee`).

It stays a MusicGen like any other; the weights are where training begins, and it goes on from there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import MusicgenForConditionalGeneration

from etude.score.exact import BEATS

BEATS_PER_BAR = 4
# The clock is right for so many frames, and fades after: by then the music has its own. More of them would need
# sinusoids nearer to each other than a small model's are.
REACH = 950
_FADED_BY = 1500
_FADING_WEIGHT = 0.02
# Against sums of large terms that cancel, which noise would not.
_RIDGE = 0.3
# How far beyond the slowest and the quickest bar sinusoids are of use.
_MARGIN = 1.3

# A head's score at its own beat, and what is taken off it everywhere: with a text's other tokens at a score of 0 it
# looks at the last one for somewhat less than a beat in either direction.
_SHARPNESS, _RESERVE = 6.0, 2.0
# What a head adds to its own place in a column's state, in standard deviations of it.
_LOUDNESS = 3.0
# Of weights that mean nothing yet, and are to be learned.
_SMALL_STD = 0.003


@dataclass(frozen=True)
class Dial:
    """columns: int64 [n], where these sinusoids are in a state. sums: float32 [beats of a bar, tempos, n], what they
    are multiplied with for the cosine that is 1 on that beat, for each of BEATS.
    """

    columns: Tensor
    sums: Tensor


def dial(width: int) -> Dial:
    """width: of the decoder, whose positions are transformers' for MusicGen: cosines first, then sines."""
    half = width // 2
    speeds = torch.exp(-torch.arange(half, dtype=torch.float64) * math.log(10000) / (half - 1))
    slowest, quickest = (2 * math.pi / (BEATS_PER_BAR * beat) for beat in (BEATS[-1], BEATS[0]))
    places = ((speeds > slowest / _MARGIN) & (speeds < quickest * _MARGIN)).nonzero()[:, 0]
    frames = torch.arange(_FADED_BY, dtype=torch.float64)
    turns = frames[:, None] * speeds[places]
    sinusoids = torch.cat([turns.cos(), turns.sin()], 1)
    weight = torch.where(frames < REACH, 1.0, _FADING_WEIGHT)[:, None]
    bars = torch.tensor(list(BEATS), dtype=torch.float64) * BEATS_PER_BAR
    beats = torch.arange(BEATS_PER_BAR, dtype=torch.float64) / BEATS_PER_BAR
    # Beats by tempos by frames.
    wanted = (2 * math.pi * (frames / bars[:, None] - beats[:, None, None])).cos() * (frames < REACH)
    gram = sinusoids.T @ (weight * sinusoids) + _RIDGE * torch.eye(sinusoids.shape[1], dtype=torch.float64)
    sums = torch.linalg.solve(gram, sinusoids.T @ (weight * wanted.flatten(0, 1).T)).T
    return Dial(torch.cat([places, half + places]), sums.view(BEATS_PER_BAR, len(bars), -1).float())


def likeness() -> Tensor:
    """[tempos, tempos], how alike the bars' cosines and sines are, of any two of BEATS: 1 for the same, and positive
    definite.
    """
    frames = torch.arange(REACH, dtype=torch.float64)
    angles = 2 * math.pi * frames / (torch.tensor(list(BEATS), dtype=torch.float64)[:, None] * BEATS_PER_BAR)
    alike = (angles.cos() @ angles.cos().T + angles.sin() @ angles.sin().T) / len(frames)
    return (0.99 * alike + 0.01 * torch.eye(len(BEATS), dtype=torch.float64)).float()


@torch.no_grad()
def set_clock(model: MusicgenForConditionalGeneration, readout: Tensor, columns: Tensor) -> None:
    """Writes the clock into a float32 model, in the place of the first layer's cross-attention.

    readout: [tempos, hidden], times a token's state, as the decoder attends to it: 1 for the tempo that is said, at
    the last token, and 0 elsewhere. columns: int64 [B, K, S], of music, to measure what its norm is given.

    Raises ValueError for a decoder with too few or too narrow heads.
    """
    decoder = model.decoder.model.decoder
    layer = decoder.layers[0]
    attention, norm = layer.encoder_attn, layer.encoder_attn_layer_norm
    found = dial(norm.weight.numel())
    rows = len(found.columns)
    # One row more, for what is taken off everywhere.
    if attention.num_heads < BEATS_PER_BAR or attention.head_dim <= rows:
        raise ValueError(
            f"a clock needs {BEATS_PER_BAR} heads of {rows + 1} values at least, "
            f"not {attention.num_heads} of {attention.head_dim}"
        )
    # The slowest sines are next to nothing: in their places the heads write, and one is made to say 1.
    *hands, one = range(norm.weight.numel() - BEATS_PER_BAR - 1, norm.weight.numel())
    silent = torch.cat([found.columns, torch.tensor(hands)])
    for table in decoder.embed_tokens:
        table.weight[:, silent] = 0
    layer.self_attn.out_proj.weight[silent] = 0
    mean, std = _statistics(model, norm, columns)
    norm.weight[found.columns], norm.bias[found.columns] = 1, mean / std
    norm.weight[one], norm.bias[one] = 0, 1
    for weight in (attention.q_proj.weight, attention.k_proj.weight, attention.out_proj.weight):
        nn.init.normal_(weight, std=_SMALL_STD)
    scale = math.sqrt(attention.head_dim)
    for head, (sums, hand) in enumerate(zip(found.sums, hands, strict=True)):
        first = head * attention.head_dim
        own = torch.arange(first, first + rows)
        attention.q_proj.weight[first : first + rows + 1] = 0
        attention.q_proj.weight[own, found.columns] = std
        attention.q_proj.weight[first + rows, one] = 1
        attention.k_proj.weight[own] = scale * _SHARPNESS * sums.T @ readout
        attention.k_proj.weight[first + rows] = -scale * _RESERVE * readout.sum(0)
        attention.v_proj.weight[first] = readout.sum(0)
        attention.out_proj.weight[hand, first] = _LOUDNESS * std


def _statistics(model: MusicgenForConditionalGeneration, norm: nn.Module, columns: Tensor) -> tuple[float, float]:
    """The mean and the standard deviation of a column's state where a norm reads it, for a text that says nothing."""
    read: list[Tensor] = []
    watching = norm.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    try:
        texts = torch.zeros(len(columns), 1, model.config.decoder.hidden_size)
        model.decoder.model(columns.flatten(0, 1), encoder_hidden_states=texts, use_cache=False)
    finally:
        watching.remove()
    return float(read[0].mean(2).mean()), float(read[0].std(2).mean())
