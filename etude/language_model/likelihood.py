"""How well held-out codes are foreseen, and how much of that the words give."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from etude.language_model.batches import IGNORED, Batches

# Clips at a time.
_BATCH = 8


@dataclass(frozen=True)
class Likelihood:
    """Mean cross-entropies of each codebook's codes, in nats: with the clip's text, with another clip's, and without.

    What the words are worth is the difference; a model that doesn't listen has none.
    """

    with_text: tuple[float, ...]
    with_others_text: tuple[float, ...]
    without_text: tuple[float, ...]

    @property
    def perplexity(self) -> tuple[float, ...]:
        """With text: of each codebook, between how many codes the model is in doubt."""
        return tuple(round(math.exp(loss), 2) for loss in self.with_text)

    def as_dict(self) -> dict[str, object]:
        """For JSON, the mean over codebooks too."""
        means = {f"{name}_mean": round(sum(losses) / len(losses), 5) for name, losses in asdict(self).items()}
        return {**asdict(self), **means, "perplexity": self.perplexity}


@torch.no_grad()
def likelihood(trainee: nn.Module, batches: Batches, *, clips: int, device: torch.device) -> Likelihood:
    """Over the beginnings of so many clips, or of all there are. trainee: a `Trainee`, whose mode is left as it was."""
    was_training = trainee.training
    trainee.eval()
    clips = min(clips, len(batches))
    # Nobody gets their own text where there is more than one.
    found = [
        _mean_losses(trainee, batches, clips, device, texts_of=texts_of, unheard=unheard)
        for texts_of, unheard in ((0, False), (1, False), (0, True))
    ]
    trainee.train(was_training)
    return Likelihood(*found)


def _mean_losses(
    trainee: nn.Module, batches: Batches, clips: int, device: torch.device, *, texts_of: int, unheard: bool
) -> tuple[float, ...]:
    sums: list[Tensor] = []
    counts: list[Tensor] = []
    for first in range(0, clips, _BATCH):
        batch = batches.beginnings(first, min(_BATCH, clips - first), texts_of=texts_of).to(device)
        shown = dataclasses.replace(batch, unheard=torch.full_like(batch.unheard, unheard))
        sums.append(trainee(shown)[0].double().sum((1, 2)).cpu())
        counts.append((shown.labels != IGNORED).sum((0, 2)).cpu())
    means = torch.stack(sums).sum(0) / torch.stack(counts).sum(0)
    return tuple(round(value, 5) for value in means.tolist())
