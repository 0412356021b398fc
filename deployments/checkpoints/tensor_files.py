"""The files that hold a checkpoint's tensors: safetensors or torch's own format, one file or shards with an index.

Tensors are read when they are needed, so that a model can be loaded layer by layer, in little more than its own memory
(`TensorReader`). Weight norm is fused: a length and a direction, in either spelling of torch's, become the weight they
stand for (`fuse_weight_norm`). Each tensor belongs to one of the three parts that decode, or is not needed
(`sort_into_parts`).
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from deployments.checkpoints.config import CheckpointError, first_few, on_one_line

SAFETENSORS, SAFETENSORS_INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"


@dataclass(frozen=True)
class TensorFiles:
    """Where each tensor of a checkpoint is.

    Attributes:
        paths: the files weights are read from, the index last where there is one.
        locations: tensor name → its file.
    """

    paths: tuple[Path, ...]
    locations: dict[str, Path]

    @classmethod
    def open(cls, folder: Path) -> TensorFiles:
        """The tensors of a folder; only headers are read.

        Raises:
            CheckpointError: Where there are no weights, a file is broken, or a shard or a tensor in it is missing.
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

    Raises:
        CheckpointError: For an index that can't be read.
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


@dataclass(frozen=True)
class TensorReader:
    """Reads tensors by name, also those that are a part of another one.

    Attributes:
        shapes: of every tensor there is, by name.
        tied: those that are stored as the first rows of another, by name.
    """

    files: TensorFiles
    shapes: Mapping[str, tuple[int, ...]]
    tied: Mapping[str, str] = field(default_factory=dict)

    def read(self, names: Iterable[str], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """These tensors, cast as `TensorFiles.read` does it.

        What isn't cast may be a view of a mapped file, not to be written to; what has been read of the file counts as
        this process's memory until the last of its tensors is let go.
        """
        wanted = list(names)
        stored = self.files.read({self.tied.get(name, name) for name in wanted}, dtype)
        return {name: self._of(name, stored) for name in wanted}

    def _of(self, name: str, stored: Mapping[str, Tensor]) -> Tensor:
        return stored[self.tied[name]][: self.shapes[name][0]] if name in self.tied else stored[name]


# (length, direction) in place of "weight", as `nn.utils.weight_norm` and `nn.utils.parametrizations.weight_norm` save.
_SPELLINGS = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)


def fuse_weight_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors with a `weight` in place of every length and direction, of the direction's type.

    weight = length * direction / |direction|, the norm over all dimensions but the first (Salimans & Kingma 2016, as
    torch has it), computed in 32 bit.

    Raises:
        CheckpointError: For a length without a direction, or the reverse.
    """
    fused = dict(tensors)
    for length, direction in _SPELLINGS:
        with_length = {name.removesuffix(length) for name in tensors if name.endswith(length)}
        with_direction = {name.removesuffix(direction) for name in tensors if name.endswith(direction)}
        halves = sorted(with_length ^ with_direction)
        if halves:
            raise CheckpointError(f"weight norm lacks its length or its direction in {first_few(halves)}")
        for prefix in sorted(with_length):
            fused[prefix + "weight"] = _weight(fused.pop(prefix + length), fused.pop(prefix + direction))
    return fused


def _weight(length: Tensor, direction: Tensor) -> Tensor:
    v = direction.float()
    norm: Tensor = torch.linalg.vector_norm(v, dim=tuple(range(1, v.ndim)), keepdim=True)
    return (v * (length.float() / norm)).to(direction.dtype)


Part = Literal["text_encoder", "language_model", "codec"]

PARTS: dict[Part, tuple[str, ...]] = {
    "text_encoder": ("text_encoder.*",),
    "language_model": ("decoder.*", "enc_to_dec_proj.*"),
    "codec": ("audio_encoder.decoder.*", "audio_encoder.quantizer.layers.*.codebook.embed"),
}

# What a checkpoint may hold though decoding doesn't read it.
NOT_NEEDED = {
    "audio_encoder.encoder.*": "turns sound into codes; decoding goes the other way",
    "audio_encoder.quantizer.layers.*.codebook.embed_avg": "a running mean from the codec's training",
    "audio_encoder.quantizer.layers.*.codebook.cluster_size": "a running count from the codec's training",
    "audio_encoder.quantizer.layers.*.codebook.inited": "whether that training has begun",
    "decoder.model.decoder.embed_positions.weights": "a table of sines, computed anew; stored by transformers 4 only",
}


def sort_into_parts(names: Iterable[str]) -> dict[Part, list[str]]:
    """Every name under its part, but those not needed.

    Raises:
        CheckpointError: For names that belong nowhere, and for a part without any.
    """
    parts: dict[Part, list[str]] = {part: [] for part in PARTS}
    unknown = []
    for name in sorted(names):
        if _matches(name, NOT_NEEDED):
            continue
        home = next((part for part, patterns in PARTS.items() if _matches(name, patterns)), None)
        if home is None:
            unknown.append(name)
        else:
            parts[home].append(name)
    if unknown:
        raise CheckpointError(f"a MusicGen has no tensors named {first_few(unknown)}")
    for part, found in parts.items():
        if not found:
            raise CheckpointError(f"the tensors of the {part.replace('_', ' ')} are missing")
    return parts


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
