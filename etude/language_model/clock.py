"""A clock that words set: what a decoder is given to know, in every frame, where in the bar it is.

When the next beat is due is a product of two things, the tempo that the text says and the frame's number; of the music
only the first bar needs it, from then on what was played tells. So a small model finds hardly any of it in hours. But
attention is such a product: positions are sinusoids, a bar's cosine is a sum of the few of them that turn nearly as
fast, and which sum is a matter of the tempo. So the first layer's cross-attention becomes four heads that look more
or less at the text's last token, where the text encoder says the tempo (`etude.teach_text`), as the bar turns: with
queries that hold the sinusoids, and keys that hold the sum. To be read, these sinusoids have to be alone: embeddings
and the layer's self-attention are silent in their places.

It stays a MusicGen like any other, in whatever plays it. Training keeps these weights as they are (`trainee`), and
teaches the others what to do with them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import MusicgenForConditionalGeneration

from etude.score.exact import BEATS

# What the heads tell: the cosine and the sine of a bar of four beats, and of half a bar, each by its beats and by the
# beat on which the head is surest.
HEADS = ((4, 0.0), (4, 1.0), (2, 0.0), (2, 0.5))
# For so many frames a cosine is right, by its beats; it fades after, and by then the music has its own. For longer a
# small model's sinusoids are too far apart.
REACH = {4: 950, 2: 500}
_BAR = max(REACH)
_FADED_BY = 1500
_FADING_WEIGHT = 0.02
# Against sums of large terms that cancel, which noise would not.
_RIDGE = 0.3
# How far beyond the slowest and the quickest bar sinusoids are of use.
_MARGIN = 1.2

# A head's score at its own beat, and what is added everywhere: with some ten other tokens at a score of 0 it then looks
# half at the last one where the cosine is 0.
_SHARPNESS, _OFFSET = 2.5, 2.3
# What a head adds to its own place in a column's state, in standard deviations of it.
LOUDNESS = 3.0
# Of weights that mean nothing yet, and are to be learned.
_SMALL_STD = 0.003


@dataclass(frozen=True)
class Dial:
    """columns: int64 [n], where these sinusoids are in a state. sums: float32 [HEADS, tempos, n], what they are
    multiplied with for the head's cosine, for each of BEATS.
    """

    columns: Tensor
    sums: Tensor


def dial(width: int) -> Dial:
    """width: of the decoder, whose positions are transformers' for MusicGen: cosines first, then sines."""
    half = width // 2
    speeds = torch.exp(-torch.arange(half, dtype=torch.float64) * math.log(10000) / (half - 1))
    slowest, quickest = 2 * math.pi / (_BAR * BEATS[-1]), 2 * math.pi / (min(REACH) * BEATS[0])
    places = ((speeds > slowest / _MARGIN) & (speeds < quickest * _MARGIN)).nonzero()[:, 0]
    frames = torch.arange(_FADED_BY, dtype=torch.float64)
    turns = frames[:, None] * speeds[places]
    sinusoids = torch.cat([turns.cos(), turns.sin()], 1)
    tempos = torch.tensor(list(BEATS), dtype=torch.float64)[:, None]
    sums = []
    for beats, surest in HEADS:
        right = frames < REACH[beats]
        weight = torch.where(right, 1.0, _FADING_WEIGHT)[:, None]
        wanted = (2 * math.pi * (frames / tempos - surest) / beats).cos() * right
        gram = sinusoids.T @ (weight * sinusoids) + _RIDGE * torch.eye(sinusoids.shape[1], dtype=torch.float64)
        sums.append(torch.linalg.solve(gram, sinusoids.T @ (weight * wanted.T)).T)
    return Dial(torch.cat([places, half + places]), torch.stack(sums).float())


def likeness() -> Tensor:
    """[tempos, tempos], how alike the bars' cosines and sines are, of any two of BEATS: 1 for the same, and positive
    definite.
    """
    frames = torch.arange(REACH[_BAR], dtype=torch.float64)
    angles = 2 * math.pi * frames / (torch.tensor(list(BEATS), dtype=torch.float64)[:, None] * _BAR)
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
    # One row more, for what is added everywhere.
    if attention.num_heads < len(HEADS) or attention.head_dim <= rows:
        raise ValueError(
            f"a clock needs {len(HEADS)} heads of {rows + 1} values at least, "
            f"not {attention.num_heads} of {attention.head_dim}"
        )
    hands, _, one = places_of(decoder)
    silent = torch.cat([found.columns, torch.tensor(hands)])
    for table in decoder.embed_tokens:
        table.weight[:, silent] = 0
    layer.self_attn.out_proj.weight[silent] = 0
    std = state_std(model, norm, columns)
    norm.weight[silent], norm.bias[silent] = 1, 0
    norm.weight[one], norm.bias[one] = 0, 1
    for weight in (attention.q_proj.weight, attention.k_proj.weight, attention.out_proj.weight):
        nn.init.normal_(weight, std=_SMALL_STD)
    scale = math.sqrt(attention.head_dim)
    for head, (sums, hand) in enumerate(zip(found.sums, hands, strict=True)):
        first = head * attention.head_dim
        own = torch.arange(first, first + rows)
        attention.q_proj.weight[first : first + rows + 1] = 0
        attention.q_proj.weight[own, found.columns] = std
        # Where nothing is written yet, the norm leaves what it took off: the state's mean, which is no sinusoid's.
        attention.q_proj.weight[own, hands[-1]] = -std
        attention.q_proj.weight[first + rows, one] = 1
        attention.k_proj.weight[own] = scale * _SHARPNESS * sums.T @ readout
        attention.k_proj.weight[first + rows] = scale * _OFFSET * readout.sum(0)
        attention.v_proj.weight[first] = readout.sum(0)
        attention.out_proj.weight[hand, first] = LOUDNESS * std


def places_of(decoder: nn.Module) -> tuple[list[int], list[int], int]:
    """Where in a state the heads write, two places beside them (`pulse`), and the one that is made to say 1: those of
    the slowest sines, which are next to nothing.
    """
    one: int = decoder.embed_tokens[0].weight.shape[1] - 1  # type: ignore[index, union-attr]
    first = one - len(HEADS)
    return list(range(first, one)), [first - 2, first - 1], one


def state_std(model: MusicgenForConditionalGeneration, norm: nn.Module, columns: Tensor) -> float:
    """The standard deviation of a column's state where a norm reads it, for a text that says nothing."""
    read: list[Tensor] = []
    watching = norm.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    try:
        texts = torch.zeros(len(columns), 1, model.config.decoder.hidden_size)
        model.decoder.model(columns.flatten(0, 1), encoder_hidden_states=texts, use_cache=False)
    finally:
        watching.remove()
    return float(read[0].std(2).mean())
