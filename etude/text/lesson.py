"""Teaching: one linear map of the mean of a text's states has to tell every fact."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from etude.text.facts import WIDTHS, Facts


class Pupil(nn.Module):
    """encoder: T5's. heads: for each kind of fact a linear map, thrown away when the lesson is over."""

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict({name: nn.Linear(width, numbers) for name, numbers in WIDTHS.items()})

    def forward(self, tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """tokens, mask: [B, N]. What it tells of each text, unsquashed: [B, numbers] for each kind of fact."""
        states = self.encoder(input_ids=tokens, attention_mask=mask).last_hidden_state
        shown = mask[:, :, None].to(states.dtype)
        mean = (states * shown).sum(1) / shown.sum(1)
        return {name: head(mean) for name, head in self.heads.items()}


def loss(told: dict[str, Tensor], facts: Facts) -> Tensor:
    """The sum over kinds of facts, in nats a text."""
    parts = [F.cross_entropy(told[name], getattr(facts, name)) for name in ("tempo", "tonic", "genre", "mood")]
    for name in ("scale", "families", "no_drums"):
        each = F.binary_cross_entropy_with_logits(told[name], getattr(facts, name), reduction="none")
        parts.append(each.sum(1).mean())
    return torch.stack(parts).sum()


@torch.no_grad()
def rightness(told: dict[str, Tensor], facts: Facts) -> dict[str, float]:
    """The share of texts of which each fact is told rightly: the tempo's likeliest class, every note of the key."""
    right = {"tempo": told["tempo"].argmax(1) == facts.tempo.argmax(1), "tonic": told["tonic"].argmax(1) == facts.tonic}
    for name in ("scale", "families", "no_drums"):
        right[name] = ((told[name] > 0) == (getattr(facts, name) > 0)).all(1)
    return {name: round(float(each.float().mean()), 3) for name, each in right.items()}
