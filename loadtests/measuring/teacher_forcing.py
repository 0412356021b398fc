"""What a decoder makes of tokens that others chose, and how far that is from another decoder's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deployments.language_model.decoder import HostDecoder
from deployments.language_model.engine.step import Rows, SlotPosition

BRANCHES = 2  # with the text, and without it


@torch.inference_mode()
def teacher_forced(decoder: HostDecoder, tokens: np.ndarray, text_states: np.ndarray) -> Tensor:
    """tokens int64 [T, K], text_states [S, D_text] → logits [T, 2, K, V] of both branches after each token."""
    cache = decoder.new_cache(1)
    decoder.read_text(cache, 0, torch.from_numpy(text_states))
    logits = []
    at_once = decoder.max_rows // BRANCHES
    for first in range(0, len(tokens), at_once):
        positions = range(first, min(first + at_once, len(tokens)))
        index = np.array([(0, branch, position) for position in positions for branch in range(BRANCHES)])
        slots, branches, all_positions = np.ascontiguousarray(index.T)
        places = [SlotPosition(0, position, BRANCHES * i, BRANCHES) for i, position in enumerate(positions)]
        rows = Rows(tokens[list(positions)].repeat(BRANCHES, axis=0), slots, branches, all_positions, places)
        logits.append(decoder.logits(decoder.hidden(rows, cache)).clone())
    whole = torch.cat(logits)
    return whole.view(len(tokens), BRANCHES, *whole.shape[1:])


@dataclass(frozen=True)
class Distance:
    """Of distributions over tokens from those of a reference.

    kl_nats: mean Kullback-Leibler divergence. worst_kl_nats: of the worst draw. top_1_agreement: the share of draws
    with the same likeliest token.
    """

    kl_nats: float
    worst_kl_nats: float
    top_1_agreement: float

    @classmethod
    def between(cls, reference: Tensor, other: Tensor) -> Distance:
        """Both logits [..., V]."""
        p, q = reference.log_softmax(-1), other.log_softmax(-1)
        kl = (p.exp() * (p - q)).sum(-1)
        agree = (p.argmax(-1) == q.argmax(-1)).float().mean()
        return cls(float(kl.mean()), float(kl.max()), float(agree))


def guided(logits: Tensor, guidance_scale: float) -> Tensor:
    """[T, 2, ...] → [T, ...]: what tokens are drawn from."""
    with_text, without_text = logits.unbind(1)
    return without_text + (with_text - without_text) * guidance_scale
