"""What a text encoder that was taught says of tempo and key, found by regression in descriptions of which all is known.

States are those that the decoder attends to, after the projection to its width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import MusicgenForConditionalGeneration, PreTrainedTokenizerBase

from etude.text.facts import describe_seeds
from etude.text.lesson import last_tokens

_TEXTS_AT_ONCE = 100
# Of a last token that says a tempo, one that says none, and any other; most tokens are others.
_TOKEN_WEIGHTS = (10.0, 3.0, 1.0)
_TOKEN_RIDGE = 0.1
# Of a text that says a key, and one that says none.
_TEXT_WEIGHTS = (3.0, 1.0)
_TEXT_RIDGE = 0.01


@dataclass(frozen=True)
class Said:
    """Of all tokens of some texts: states [tokens, hidden]; beats [tokens, tempos], 1 for the one that is said, at a
    text's last token; lasts, bool [tokens]. Of the texts: means of their states, [texts, hidden]; keys [texts, 12], 1
    for pitch classes of the key that is said, -1 for others, 0 where none is said.
    """

    states: Tensor
    beats: Tensor
    lasts: Tensor
    means: Tensor
    keys: Tensor


@torch.no_grad()
def attended(model: MusicgenForConditionalGeneration, text: Tensor, mask: Tensor) -> Tensor:
    """text, mask: [B, N]. As the decoder attends to it: [B, N, hidden], zero for padding."""
    states: Tensor = model.text_encoder(input_ids=text, attention_mask=mask).last_hidden_state
    if hasattr(model, "enc_to_dec_proj"):
        states = model.enc_to_dec_proj(states)
    return states * mask[:, :, None]


def said_of(model: MusicgenForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, seeds: Sequence[int]) -> Said:
    """Of descriptions of these seeds' pieces."""
    texts, facts = describe_seeds(seeds)
    parts: list[tuple[Tensor, ...]] = []
    for first in range(0, len(texts), _TEXTS_AT_ONCE):
        some = slice(first, first + _TEXTS_AT_ONCE)
        read = tokenizer(texts[some], padding=True, return_tensors="pt")
        shown = read.attention_mask.bool()
        states, last = attended(model, read.input_ids, read.attention_mask), last_tokens(read.attention_mask)
        beats = facts.beats[some, None] * last[:, :, None]
        means = states.sum(1) / shown.sum(1, keepdim=True)
        parts.append((states[shown], beats[shown], last[shown], means))
    keys = (2 * facts.scale - 1) * (facts.tonic > 0)[:, None]
    states, beats, lasts, means = (torch.cat(each) for each in zip(*parts, strict=True))
    return Said(states, beats, lasts, means, keys)


def tempo_readout(said: Said) -> Tensor:
    """[tempos, hidden], times a token's state: 1 for the tempo that is said, at the last token."""
    named, none, other = _TOKEN_WEIGHTS
    weights = torch.where(said.beats.any(1), named, torch.where(said.lasts, none, other))
    return _regress(said.states, said.beats, weights, _TOKEN_RIDGE)


def key_readout(said: Said) -> Tensor:
    """[12, hidden], times the mean of a text's states: 1 for pitch classes of the key that is said, -1 for others."""
    named, none = _TEXT_WEIGHTS
    weights = torch.where(said.keys.any(1), named, none)
    return _regress(said.means, said.keys, weights, _TEXT_RIDGE)


def _regress(known: Tensor, wanted: Tensor, weights: Tensor, ridge: float) -> Tensor:
    """Weighted least squares: known [n, hidden], wanted [n, m], weights [n] → [m, hidden]."""
    x, y, w = known.double(), wanted.double(), weights.double()[:, None]
    gram = x.T @ (w * x) + ridge * torch.eye(x.shape[1], dtype=torch.float64)
    solved: Tensor = torch.linalg.solve(gram, x.T @ (w * y))
    return solved.T.float()
