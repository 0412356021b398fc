"""The embedded checkpoint, as it is in the repository."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoProcessor, MusicgenForConditionalGeneration

from deployments.checkpoints.checkpoint import Checkpoint


@pytest.fixture
def folder(project_root: Path) -> Path:
    return project_root / "etude/checkpoint"


def test_it_is_small_and_has_a_card_and_a_licence(folder: Path) -> None:
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 40_000_000
    card = (folder / "README.md").read_text()
    assert "license: cc0-1.0" in card
    for said in ("## Data", "## Figures", "## Recipe", "can't"):
        assert said in card


def test_its_weights_have_16_bits(folder: Path) -> None:
    with safe_open(folder / "model.safetensors", "pt") as file:
        dtypes = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118, it is no dictionary
    assert dtypes <= {torch.bfloat16, torch.float16}


def test_transformers_loads_all_of_it_and_plays(folder: Path) -> None:
    model, told = MusicgenForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(told.values()), told
    inputs = AutoProcessor.from_pretrained(folder)(text=["a slow piano waltz"], return_tensors="pt")
    sound = model.generate(**inputs, max_new_tokens=20)
    assert sound.shape == (1, 1, (20 - 3) * 640)  # the delay pattern takes three steps more


def test_it_is_in_the_geometry_that_the_service_tells(folder: Path) -> None:
    codec = Checkpoint.open(folder).codec_config
    assert (codec.sampling_rate, codec.frame_rate, codec.codebook_size, codec.num_quantizers) == (32_000, 50, 2048, 4)
