from __future__ import annotations

import torch

from etude.codec.training.rests import with_rests


def test_a_share_of_crops_falls_silent_and_stays_so() -> None:
    sound = with_rests(torch.ones(400, 2000), 0.25, torch.Generator().manual_seed(0))
    ends = (sound[:, -1] == 0).sum()
    assert 60 <= int(ends) <= 140
    assert bool((sound.diff(dim=1) <= 0).all())
    assert set(sound[:, 0].tolist()) <= {0.0, 1.0}


def test_without_a_share_nothing_changes() -> None:
    sound = torch.randn(8, 2000)
    assert torch.equal(with_rests(sound, 0.0, torch.Generator()), sound)
