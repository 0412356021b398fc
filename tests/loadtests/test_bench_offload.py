"""The benchmark runs, and ends with the line that others read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.language_model.config import DecoderConfig
from deployments.language_model.weights import expected_shapes
from loadtests.bench_offload import main
from loadtests.measuring.random_checkpoint import write_checkpoint
from loadtests.measuring.shapes import SHAPES

KEYS = [
    *("shape", "dtype", "share", "frames", "threads", "weight_bytes", "disk_bytes", "loading_s", "ms_per_step"),
    *("loading_peak_of_weights", "peer", "peer_loading_peak_of_weights", "peer_loading_s", "peer_ms_per_step"),
    *("same_codes", "floor_ms_per_step"),
]


@pytest.mark.nightly  # three processes that import torch, one after the other
def test_the_last_line_is_json_with_every_figure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    # More than a third: half of this shape's weights is its embedding, which stays in memory.
    main(["--shape", "tiny", "--share", "0.75", "--frames", "3", "--threads", "1", "--folder", str(tmp_path)])
    torch.set_num_threads(before)
    figures = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert list(figures) == KEYS
    assert all(figures.values())
    assert 0.2 < figures["disk_bytes"] / figures["weight_bytes"] < 0.7
    assert list(tmp_path.iterdir()) == []


def test_a_random_checkpoint_has_every_tensor_in_shards_of_its_own(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", SHAPES["tiny"])
    checkpoint = Checkpoint.open(folder)
    config = DecoderConfig.from_transformers(checkpoint.config)
    assert config == SHAPES["tiny"].config
    assert checkpoint.language_model_reader().shapes == expected_shapes(config)
    assert len(list(folder.glob("*.safetensors"))) > 3
