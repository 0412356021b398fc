"""How far one set of sounds is from another: the Fréchet distance of their embeddings, as if both were Gaussian.

|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½), Dowson & Landau 1982; for sound Kilgour et al. 2019 (arXiv:1812.08466), with
another embedding: the one of `timbre.embed_seconds`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def frechet_distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Both [N, width], at least two of each."""
    between = one.mean(axis=0) - other.mean(axis=0)
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    # The eigenvalues of a product of two covariances are real and not negative, but for rounding.
    roots = np.sqrt(np.maximum(np.linalg.eigvals(first @ second).real, 0))
    return float(max(0.0, between @ between + np.trace(first) + np.trace(second) - 2 * roots.sum()))
