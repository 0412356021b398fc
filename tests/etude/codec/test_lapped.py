from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from etude.codec.geometry import Geometry
from etude.codec.lapped import cosine_atoms, lapped_transform, mdct_atoms, principal_atoms
from tests.etude.codec.conftest import notes


def test_a_sound_is_the_overlapped_sum_of_its_mdct_atoms() -> None:
    hop = 12
    atoms = mdct_atoms(hop)
    sound = torch.randn(10 * hop, dtype=torch.float64)
    restored = torch.zeros_like(sound)
    for start in range(0, len(sound) - hop, hop):
        frame = slice(start, start + 2 * hop)
        restored[frame] += atoms.T @ (atoms @ sound[frame])
    # The first and the last hop lack a neighbour.
    torch.testing.assert_close(restored[hop:-hop], sound[hop:-hop])


@pytest.mark.parametrize(("size", "count"), [(1, 1), (4, 4), (80, 64)])
def test_cosine_atoms_are_orthonormal(size: int, count: int) -> None:
    atoms = cosine_atoms(size, count)
    torch.testing.assert_close(atoms @ atoms.T, torch.eye(count, dtype=torch.float64))


def test_principal_atoms_are_orthonormal_and_the_strongest_come_first() -> None:
    atoms, deviation = principal_atoms(notes(4, 32000), 64, 20)
    torch.testing.assert_close(atoms @ atoms.T, torch.eye(20, dtype=torch.float64))
    assert deviation.diff().le(0).all()
    assert deviation[0] > 0


def test_the_stages_together_are_the_principal_atoms() -> None:
    geometry = Geometry(ratios=(4, 3, 2), filters=8, latent_width=12)
    sound = notes(2, 24 * 200)
    transform = lapped_transform(geometry, sound)
    x = sound[:, None].double()
    for stage, ratio in zip(transform.stages, reversed(geometry.ratios), strict=True):
        x = F.conv1d(F.pad(x, (ratio - ratio // 2, ratio // 2)), stage.kernel, stride=ratio)
    atoms, _ = principal_atoms(sound, 24, 12)
    # A frame begins half a hop before its samples.
    frames = F.pad(sound.double(), (12, 12)).unfold(-1, 48, 24)
    torch.testing.assert_close(x, (frames @ atoms.T).transpose(1, 2))


def test_as_many_components_are_kept_as_pairs_of_channels_have_room_for() -> None:
    # Four filters are eight channels after the first stage and sixteen after the second.
    first, second = lapped_transform(Geometry(ratios=(4, 16), filters=4, latent_width=100), notes(2, 3200)).stages
    assert first.kernel.shape == (4, 1, 32)
    assert second.kernel.shape == (8, 4, 8)
