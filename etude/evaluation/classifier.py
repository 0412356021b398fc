"""Tells sounds apart by their timbre: a softmax regression, learned from rendered pieces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

# How much large weights cost, against a mean loss in nats.
_WEIGHT_COST = 1e-3
_ITERATIONS = 200


class Classifier:
    """features: [N, F] of what it learns from, each with its label. The same examples make the same classifier.

    Raises ValueError for fewer than two different labels.
    """

    def __init__(self, features: NDArray[np.float64], labels: Sequence[str]) -> None:
        self.labels = tuple(sorted(set(labels)))
        if len(self.labels) < 2:
            raise ValueError(f"there is nothing to tell apart: all examples are {', '.join(self.labels) or 'missing'}")
        self._mean, self._spread = features.mean(axis=0), features.std(axis=0) + 1e-6
        wanted = torch.tensor([self.labels.index(label) for label in labels])
        inputs = self._inputs(features)
        self._weights = torch.zeros(inputs.shape[1], len(self.labels), dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([self._weights], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

        def loss() -> float:
            optimizer.zero_grad()
            cost = F.cross_entropy(inputs @ self._weights, wanted) + _WEIGHT_COST * self._weights.square().sum()
            cost.backward()  # type: ignore[no-untyped-call]
            return float(cost.detach())

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        self._weights.requires_grad_(False)

    def name(self, features: NDArray[np.float64]) -> list[str]:
        """The likeliest label of each: [N, F] → N."""
        return [self.labels[i] for i in (self._inputs(features) @ self._weights).argmax(1).tolist()]

    def _inputs(self, features: NDArray[np.float64]) -> torch.Tensor:
        """Standardised, and a 1 for the bias."""
        standard = (features - self._mean) / self._spread
        return torch.from_numpy(np.concatenate([standard, np.ones((len(standard), 1))], axis=1))
