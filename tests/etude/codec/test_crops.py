from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from etude.codec.crops import Crops
from etude.shards import read_clips
from tests.etude.codec.conftest import notes


def test_a_batch_is_a_function_of_seed_step_and_process(shards: Path) -> None:
    crops = Crops(shards, sample_rate=32000, num_samples=640)
    again = Crops(shards, sample_rate=32000, num_samples=640)
    assert torch.equal(crops.batch(5, 3), again.batch(5, 3))
    others = [crops.batch(6, 3), crops.batch(5, 3, process=1)]
    others.append(Crops(shards, sample_rate=32000, num_samples=640, seed=1).batch(5, 3))
    assert not any(torch.equal(crops.batch(5, 3), other) for other in others)


def test_every_crop_is_a_part_of_a_piece(shards: Path) -> None:
    pieces = [clip.pcm for clip in read_clips(shards)]
    for crop in (Crops(shards, sample_rate=32000, num_samples=50).batch(0, 4) * 32768).numpy():
        windows = (np.lib.stride_tricks.sliding_window_view(piece, 50) for piece in pieces)
        assert any((window == crop).all(1).any() for window in windows)


def test_beginnings_go_through_the_pieces_in_order(shards: Path) -> None:
    crops = Crops(shards, sample_rate=32000, num_samples=640)
    assert len(crops) == 8
    whole = crops.beginnings(0, 8)
    assert torch.equal(whole[6:], crops.beginnings(6, 5))
    np.testing.assert_array_equal(
        whole[3].numpy() * 32768, next(c.pcm for i, c in enumerate(read_clips(shards)) if i == 3)[:640]
    )


def test_at_half_the_rate_the_sound_is_the_same(shards: Path) -> None:
    halved = Crops(shards, sample_rate=16000, num_samples=16000).beginnings(0, 8)
    whole = notes(8, 32000)
    # Overtones stay below 2.4 kHz; the ends of a piece meet in a Fourier transform, and differ.
    torch.testing.assert_close(halved[:, 1000:-1000], whole[:, 2000:-2000:2], atol=0.01, rtol=0)


def test_a_rate_that_does_not_divide_the_data_is_refused(shards: Path) -> None:
    with pytest.raises(ValueError, match="must divide the data's, 32000, and 24000 doesn't"):
        Crops(shards, sample_rate=24000, num_samples=640)


def test_pieces_shorter_than_a_crop_are_refused(shards: Path) -> None:
    with pytest.raises(ValueError, match=r"as long as a crop, 2\.0 s"):
        Crops(shards, sample_rate=32000, num_samples=64000)
