"""Copies of a checkpoint with other tensors, other files, another configuration."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


def with_tensors(source: Path, folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Path:
    """A copy whose weights are what `change` makes of them."""
    shutil.copytree(source, folder)
    save_file(change(load_file(source / "model.safetensors")), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def with_config(source: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy whose config.json `change` has edited."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def pickled(source: Path, folder: Path) -> Path:
    """A copy with pytorch_model.bin in place of model.safetensors."""
    shutil.copytree(source, folder)
    torch.save(load_file(source / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def sharded(source: Path, folder: Path, *, suffix: str = "safetensors", num_shards: int = 3) -> Path:
    """A copy with its weights in shards and an index, as transformers names them."""
    shutil.copytree(source, folder)
    tensors = load_file(source / "model.safetensors")
    (folder / "model.safetensors").unlink()
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    weight_map: dict[str, str] = {}
    for i in range(num_shards):
        shard = {name: tensors[name] for name in sorted(tensors)[i::num_shards]}
        path = folder / f"{stem}-{i + 1:05}-of-{num_shards:05}.{suffix}"
        if suffix == "safetensors":
            save_file(shard, path, metadata={"format": "pt"})
        else:
            torch.save(shard, path)
        weight_map |= dict.fromkeys(shard, path.name)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    return folder


def as_transformers_4_wrote_it(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The other spelling of weight norm, the position table, and T5's embedding under both of its names."""
    spelling = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    old = {}
    for name, tensor in tensors.items():
        for new, before in spelling.items():
            name = name.replace(new, before)
        old[name] = tensor
    old["decoder.model.decoder.embed_positions.weights"] = torch.zeros(2048, 64)
    old["text_encoder.encoder.embed_tokens.weight"] = old["text_encoder.shared.weight"].clone()
    return old
