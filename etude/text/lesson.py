"""Teaching: one linear map of the mean of a text's states has to tell every fact, and one of its last state the beat.

The second is for a decoder's clock (`etude.language_model.clock`), which looks at one token: all others have to be
nothing to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from etude.language_model.clock import likeness
from etude.score.exact import BEATS
from etude.text.facts import WIDTHS, Facts

_CLOCK_WEIGHT = 3.0


class Pupil(nn.Module):
    """encoder: T5's. heads: for each kind of fact a linear map, thrown away when the lesson is over."""

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict({name: nn.Linear(width, numbers) for name, numbers in WIDTHS.items()})
        self.beats = nn.Linear(width, len(BEATS), bias=False)
        nn.init.zeros_(self.beats.weight)
        # Beats are as wrong as the cosines of their bars differ, so that a neighbour is nearly right.
        self._likeness = torch.linalg.cholesky(likeness())

    def forward(self, tokens: Tensor, mask: Tensor) -> Told:
        """tokens, mask: [B, N]."""
        states = self.encoder(input_ids=tokens, attention_mask=mask).last_hidden_state
        shown = mask[:, :, None].to(states.dtype)
        mean = (states * shown).sum(1) / shown.sum(1)
        return Told({name: head(mean) for name, head in self.heads.items()}, self.beats(states), states, mask.bool())

    def loss(self, told: Told, facts: Facts) -> Tensor:
        """The sum over kinds of facts, in nats a text, and how far off a clock would be."""
        parts = [
            F.cross_entropy(told.facts[name], getattr(facts, name)) for name in ("tempo", "tonic", "genre", "mood")
        ]
        for name in ("scale", "families", "no_drums"):
            each = F.binary_cross_entropy_with_logits(told.facts[name], getattr(facts, name), reduction="none")
            parts.append(each.sum(1).mean())
        last = last_tokens(told.shown)
        off = ((told.beats - facts.beats[:, None] * last[:, :, None]) @ self._likeness).square().sum(2)
        parts += [_CLOCK_WEIGHT * off[last].mean(), _CLOCK_WEIGHT * off[told.shown & ~last].mean()]
        return torch.stack(parts).sum()


@dataclass(frozen=True)
class Told:
    """facts: unsquashed, [B, numbers] for each kind. beats: [B, N, beats], of every token. states: [B, N, width].
    shown: bool [B, N], tokens that are no padding.
    """

    facts: dict[str, Tensor]
    beats: Tensor
    states: Tensor
    shown: Tensor


def last_tokens(mask: Tensor) -> Tensor:
    """mask: [B, N], other than 0 for tokens, which come first. Bool [B, N]."""
    return torch.arange(mask.shape[1]) == (mask != 0).sum(1, keepdim=True) - 1


def farness(told: Told, before: Told) -> Tensor:
    """Of states from what they were, in units of what they were: 0 to some 2."""
    off = (told.states - before.states)[told.shown]
    return off.square().mean() / before.states[told.shown].square().mean()


@torch.no_grad()
def rightness(told: Told, facts: Facts) -> dict[str, float]:
    """The share of texts of which each fact is told rightly: the tempo's likeliest class, every note of the key; and,
    of those that say a tempo, the beat by the last token.
    """
    tempo, tonic = told.facts["tempo"].argmax(1), told.facts["tonic"].argmax(1)
    right = {"tempo": tempo == facts.tempo.argmax(1), "tonic": tonic == facts.tonic}
    for name in ("scale", "families", "no_drums"):
        right[name] = ((told.facts[name] > 0) == (getattr(facts, name) > 0)).all(1)
    said = facts.beats.any(1)
    right["beat"] = told.beats[last_tokens(told.shown)][said].argmax(1) == facts.beats[said].argmax(1)
    return {name: round(float(each.float().mean()), 3) for name, each in right.items()}
