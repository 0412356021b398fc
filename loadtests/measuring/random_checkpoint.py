"""A checkpoint of any decoder shape with random weights, written shard by shard: it may be larger than memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import EncodecConfig, MusicgenConfig

from deployments.language_model.weights import expected_shapes
from loadtests.measuring.shapes import VOCAB_SIZE, DecoderShape

POOL = 1 << 24
SHARD_TENSORS = 16


def write_checkpoint(folder: Path, shape: DecoderShape, dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> Path:
    """In a folder that doesn't exist. Its text encoder and codec are one tensor each, for a reader to find."""
    folder.mkdir(parents=True)
    codec = EncodecConfig(sampling_rate=32000, upsampling_ratios=[8, 5, 4, 4], codebook_size=VOCAB_SIZE)
    config = MusicgenConfig(
        text_encoder=shape.transformers_text_encoder.to_dict(),
        audio_encoder=codec.to_dict(),
        decoder=shape.transformers_decoder.to_dict(),
    )
    config.save_pretrained(folder)
    weight_map: dict[str, str] = {}
    for i, tensors in enumerate(_shards(shape, dtype, seed)):
        name = f"model-{i:05d}.safetensors"
        save_file(tensors, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, name)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def _shards(shape: DecoderShape, dtype: torch.dtype, seed: int) -> Iterator[dict[str, Tensor]]:
    yield {f"{part}.weight": torch.zeros(1, dtype=dtype) for part in ("text_encoder.shared", "audio_encoder.decoder")}
    generator = torch.Generator().manual_seed(seed)
    # Every tensor is a stretch of one pool of draws, from a place of its own: many times faster than draws for each.
    pool = torch.randn(2 * POOL, generator=generator)
    shapes = list(expected_shapes(shape.config).items())
    for first in range(0, len(shapes), SHARD_TENSORS):
        some = shapes[first : first + SHARD_TENSORS]
        yield {name: _tensor(name, of, pool, generator).to(dtype) for name, of in some}


def _tensor(name: str, shape: tuple[int, ...], pool: Tensor, generator: torch.Generator) -> Tensor:
    if "norm" in name:
        return torch.full(shape, 1.0 if name.endswith("weight") else 0.0)
    size = torch.Size(shape).numel()
    assert size <= POOL, f"{name} is larger than the pool"
    start = int(torch.randint(POOL, (1,), generator=generator))
    return pool[start : start + size].view(shape).div(shape[-1] ** 0.5)
