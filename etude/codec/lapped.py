"""The lapped transform an untrained codec begins as, and the sound's statistics that choose it.

A frame's latent holds the principal components of the modified discrete cosine transform (MDCT) of the two hops around
the frame. The strided convolutions get there in stages: each but the last makes blocks of one sample into the cosine
transform of a longer block, and keeps as many components, the lowest first, as it has room for.

Here are matrices only. `initialise.py` writes them into an EncodecModel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from etude.codec.geometry import Geometry


@dataclass(frozen=True)
class Stage:
    """One strided convolution, as a linear map.

    kernel: [n_out, n_in, 2 · ratio], components after from components before; orthonormal, but for what has no room.
    deviation: [n_out], the standard deviation of the components after.
    """

    kernel: Tensor
    deviation: Tensor


@dataclass(frozen=True)
class LappedTransform:
    """The stages from sound to latents. deviation: of the sound, the one component before the first stage."""

    deviation: float
    stages: tuple[Stage, ...]


def mdct_atoms(hop: int) -> Tensor:
    """[hop, 2 · hop], float64: analysis is a product with them, synthesis the overlapped sum of their multiples.

    With the sine window they are an orthonormal basis (Princen, Johnson & Bradley 1987).
    """
    n = torch.arange(2 * hop, dtype=torch.float64)
    k = torch.arange(hop, dtype=torch.float64)[:, None]
    window = torch.sin(math.pi / (2 * hop) * (n + 0.5))
    return window * math.sqrt(2 / hop) * torch.cos(math.pi / hop * (n + 0.5 + hop / 2) * (k + 0.5))


def cosine_atoms(size: int, count: int) -> Tensor:
    """[count, size], float64: the first `count` rows of the orthonormal cosine transform (DCT-II) of `size` samples."""
    n = torch.arange(size, dtype=torch.float64)
    k = torch.arange(count, dtype=torch.float64)[:, None]
    atoms = math.sqrt(2 / size) * torch.cos(math.pi / size * (n + 0.5) * k)
    atoms[0] /= math.sqrt(2)
    return atoms


def principal_atoms(sound: Tensor, hop: int, count: int) -> tuple[Tensor, Tensor]:
    """The `count` directions in which the MDCT of a sound varies most, as atoms [count, 2 · hop], and their deviations.

    sound: [B, samples], at least two hops long.
    """
    basis = mdct_atoms(hop)
    frames = sound.double().unfold(-1, 2 * hop, hop).reshape(-1, 2 * hop)
    coefficients = frames @ basis.T
    variances, directions = torch.linalg.eigh(coefficients.T @ coefficients / len(coefficients))
    largest = variances.argsort(descending=True)[:count]
    return directions[:, largest].T @ basis, variances[largest].clamp(min=0).sqrt()


def lapped_transform(geometry: Geometry, sound: Tensor, components: int | None = None) -> LappedTransform:
    """The transform for this shape that keeps most of a sound's power. sound: [B, samples], of what is to be coded.
    components: how many, where it is not for all latents.

    Of the channels after each convolution half hold a component and half its negative (see `initialise.py`).
    """
    stages = []
    atoms_before = torch.ones(1, 1, dtype=torch.float64)
    block, room = 1, geometry.filters
    *ratios, last = reversed(geometry.ratios)
    for ratio in ratios:
        block, before, room = block * ratio, block, room * 2
        atoms = cosine_atoms(block, min(block, room // 2))
        coefficients = sound[:, : sound.shape[-1] // block * block].double().reshape(-1, block) @ atoms.T
        # The block proper begins where the convolution's padding ends.
        padding = ratio - ratio // 2
        window = torch.zeros(len(atoms), 2 * block, dtype=torch.float64)
        window[:, padding * before : padding * before + block] = atoms
        stages.append(Stage(_in_components(window, atoms_before), coefficients.square().mean(0).sqrt()))
        atoms_before = atoms
    atoms, deviation = principal_atoms(sound, block * last, min(components or geometry.latent_width, room))
    stages.append(Stage(_in_components(atoms, atoms_before), deviation))
    return LappedTransform(float(sound.square().mean().sqrt()), tuple(stages))


def _in_components(atoms: Tensor, before: Tensor) -> Tensor:
    """Atoms over samples [n_out, blocks · size], in terms of the components [n_in, size] of each block:
    [n_out, n_in, blocks]."""
    blocks = atoms.reshape(len(atoms), -1, before.shape[1])
    return torch.einsum("obs,is->oib", blocks, before)
