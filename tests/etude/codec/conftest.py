"""What the codec's tests share: sound that needs no synthesizer, and a codec that takes no time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from etude.codec.geometry import Geometry
from etude.score.describe import describe_often
from etude.score.planner import draw_plan
from etude.shards import Clip, write_shard

TINY = Geometry(filters=4, latent_width=16, codebook_size=16)


def notes(num_pieces: int, num_samples: int, *, seed: int = 0) -> Tensor:
    """Chords of fading overtones at 32 kHz, others for every seed: [num_pieces, num_samples]."""
    draw = np.random.default_rng(seed)
    time_s = np.arange(num_samples) / 32000
    pieces = np.zeros((num_pieces, num_samples))
    for piece in pieces:
        for _ in range(6):
            pitch_hz, start_s = draw.uniform(100, 800), draw.uniform(0, num_samples / 32000)
            since_s = np.maximum(time_s - start_s, 0)
            fade = np.where(time_s >= start_s, np.exp(-3 * since_s), 0)
            for overtone in (1, 2, 3):
                piece += 0.1 / overtone * fade * np.sin(2 * np.pi * pitch_hz * overtone * since_s)
    return torch.from_numpy(pieces).float()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder of eight pieces of a second each."""
    folder = tmp_path / "shards"
    folder.mkdir()
    plan = draw_plan(0)
    pcm = (notes(8, 32000) * 32767).round().numpy().astype(np.int16)
    clips = [Clip(piece, describe_often(plan, 1), plan.attributes()) for piece in pcm]
    write_shard(folder, range(8), clips)
    return folder
