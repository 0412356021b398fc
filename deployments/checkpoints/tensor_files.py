"""The files that hold a checkpoint's tensors: safetensors or torch's own format, one file or shards with an index."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from deployments.checkpoints.errors import CheckpointError, first_few, on_one_line

SAFETENSORS, SAFETENSORS_INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"


@dataclass(frozen=True)
class TensorFiles:
    """Where each tensor of a checkpoint is.

    paths: the files weights are read from, the index last where there is one. locations: tensor name → its file.
    """

    paths: tuple[Path, ...]
    locations: dict[str, Path]

    @classmethod
    def open(cls, folder: Path) -> TensorFiles:
        """The tensors of a folder; only headers are read.

        Raises CheckpointError where there are no weights, a file is broken, or a shard or a tensor in it is missing.
        """
        paths = weight_paths(folder)
        if not paths:
            raise CheckpointError(
                f"{folder} has no weights: neither {SAFETENSORS} nor {PICKLED}, nor an index of shards"
            )
        absent = [path.name for path in paths if not path.is_file()]
        if absent:
            raise CheckpointError(f"the index of {folder} names {first_few(absent)}, which the folder lacks")
        locations = {name: path for path in paths if path.suffix != ".json" for name in _names(path)}
        if paths[-1].suffix == ".json":
            shard_of = _read_index(paths[-1])
            lost = [name for name, shard in shard_of.items() if locations.get(name) != folder / shard]
            if lost:
                raise CheckpointError(f"{paths[-1]} puts {first_few(lost)} in shards that don't have them")
        return cls(paths, locations)

    def shapes(self, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors of these names; the tensors themselves are not read."""
        shapes: dict[str, tuple[int, ...]] = {}
        for path, wanted in self._by_file(names).items():
            shapes |= _shapes(path, wanted)
        return shapes

    def read(self, names: Iterable[str], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """The tensors of these names, those of floating point cast to dtype where one is given.

        What isn't cast may be a view of the mapped file: it costs no memory of its own, and is not to be written to.
        """
        tensors: dict[str, Tensor] = {}
        for path, wanted in self._by_file(names).items():
            tensors |= _read(path, wanted)
        if dtype is None:
            return tensors
        return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}

    def _by_file(self, names: Iterable[str]) -> dict[Path, list[str]]:
        names_in: dict[Path, list[str]] = defaultdict(list)
        for name in names:
            names_in[self.locations[name]].append(name)
        return names_in


def weight_paths(folder: Path) -> tuple[Path, ...]:
    """The files weights are read from: one, or shards and then the index that names them, of which some may be missing.

    Chosen as transformers does: safetensors first, one file before shards. Empty where there are none.
    Raises CheckpointError for an index that can't be read.
    """
    for single, index in ((SAFETENSORS, SAFETENSORS_INDEX), (PICKLED, PICKLED_INDEX)):
        if (folder / single).is_file():
            return (folder / single,)
        if (folder / index).is_file():
            shards = sorted(set(_read_index(folder / index).values()))
            return (*(folder / shard for shard in shards), folder / index)
    return ()


def _read_index(path: Path) -> dict[str, str]:
    """Tensor name → shard, the name of a file beside the index."""
    try:
        shard_of = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        plain = all(Path(shard).name == shard for shard in shard_of.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not an index of shards") from error
    if not plain:
        raise CheckpointError(f"{path} names shards outside of its own folder")
    return dict(shard_of)


def _names(path: Path) -> list[str]:
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return list(file.keys())
        return list(_load_pickled(path))
    except SafetensorError as error:
        raise CheckpointError(f"{path} is broken or cut short: {on_one_line(error)}") from error
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {on_one_line(error)}") from error


def _shapes(path: Path, names: list[str]) -> dict[str, tuple[int, ...]]:
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    return {name: tuple(tensor.shape) for name, tensor in _read(path, names).items()}


def _read(path: Path, names: list[str]) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in names}
    tensors = _load_pickled(path)
    return {name: tensors[name] for name in names}


def _load_pickled(path: Path) -> dict[str, Tensor]:
    """A state dict saved by `torch.save`, its tensors mapped rather than read where it is a zip (torch >= 1.6)."""
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a plain pickle of tensors: it is broken or holds code, which is never run"
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{path} is broken or cut short") from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise CheckpointError(f"{path} holds something other than named tensors")
    return tensors
