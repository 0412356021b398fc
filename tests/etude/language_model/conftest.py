"""What the language model's tests share: a MusicGen that takes no time, and codes that nobody had to encode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, MusicgenForConditionalGeneration, PreTrainedTokenizerBase

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.language_model.config import DecoderConfig
from etude.language_model.batches import Batches
from etude.language_model.code_shards import CodeClip
from etude.language_model.origin import Origin
from tests.tiny import tiny_checkpoint

VOCAB = 32


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MusicGen of random weights in transformers' format, float32."""
    folder = tmp_path_factory.mktemp("lm") / "checkpoint"
    return tiny_checkpoint(folder, vocab=VOCAB, width=32, ffn=64, text_width=24, ratios=(5, 2), codec_width=8)


@pytest.fixture
def model(checkpoint: Path) -> MusicgenForConditionalGeneration:
    return Origin(checkpoint, "tiny", torch.float32).load(dropout=0.0)


@pytest.fixture(scope="session")
def config(checkpoint: Path) -> DecoderConfig:
    return DecoderConfig.from_transformers(Checkpoint.open(checkpoint).config)


@pytest.fixture(scope="session")
def tokenizer(checkpoint: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(checkpoint)


TEXTS = ("a slow piano waltz", "drums", "fast techno, 140 bpm", "calm")


def random_clips(num_frames: tuple[int, ...], codebooks: int = 4) -> list[CodeClip]:
    """A clip for each length, with two texts each."""
    draw = np.random.default_rng(0)
    return [
        CodeClip(
            draw.integers(VOCAB, size=(codebooks, length)).astype(np.int16),
            (TEXTS[i % len(TEXTS)], f"{TEXTS[i % len(TEXTS)]} again"),
        )
        for i, length in enumerate(num_frames)
    ]


@pytest.fixture
def batches(tokenizer: PreTrainedTokenizerBase, config: DecoderConfig) -> Batches:
    return Batches(random_clips((12, 30, 20, 7)), tokenizer, config, num_frames=12, text_dropout=0.3)
