"""`python -m tests.deployments.language_model.memory_of_loading CHECKPOINT FOLDER`: what loading takes, in JSON.

By the name of each way of loading: `held_bytes` of the weights it leaves in memory, and `peak_bytes` above what the
process held before. In a process of its own, since what others have taken and given back would hide it.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.language_model.cpu.layout import pack
from deployments.language_model.model import MusicgenDecoder
from deployments.language_model.offload import load_offloaded, reserved_bytes
from deployments.language_model.placement import Offloaded
from deployments.language_model.weights import DecoderWeights, Linear, weight_source
from loadtests.measuring.peak_memory import forget_peak, peak_bytes, resident_bytes


def held(weights: DecoderWeights) -> int:
    return sum(tensor.nbytes for tensor in weights.state_dict().values() if not tensor.is_meta)


def measured(load: Callable[[], tuple[object, int]]) -> dict[str, int]:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what the way before has freed would hide some of what this one takes
    forget_peak()
    before = resident_bytes()
    _, held_bytes = load()
    return {"held_bytes": held_bytes, "peak_bytes": peak_bytes() - before}


def main(checkpoint: Checkpoint, folder: Path) -> None:
    def whole(dtype: str) -> tuple[object, int]:
        weights = weight_source(checkpoint, dtype).load()
        return weights, held(weights)

    def offloaded() -> tuple[object, int]:
        """With memory for a third."""
        source = weight_source(checkpoint, "bfloat16")
        all_bytes = sum(tensor.nbytes for tensor in source.empty().state_dict().values())
        placement = Offloaded(all_bytes // 3 + reserved_bytes(source.config, 8, 1), folder=folder)
        decoder = load_offloaded(source, placement, 8, 1, checkpoint.fingerprint)
        decoder.close()
        assert isinstance(decoder, MusicgenDecoder)
        return decoder, held(decoder.weights)

    def packed() -> tuple[object, int]:
        """As a decoder packs them that keeps nothing else of a layer."""
        weights = weight_source(checkpoint, "float32").lazy()
        matrices = [pack(layer.ffn_in.weight) for layer in weights.layers]
        return (weights, matrices), held(weights) + sum(matrix.size_bytes for matrix in matrices)

    torch.set_num_threads(1)
    importlib.import_module("torch._dynamo")  # as accelerate's hooks do at the first product: 70 MB of Python
    Linear(torch.ones(4096, 1024, dtype=torch.bfloat16))(torch.ones(64, 1024))
    ways = {"offloaded": offloaded, "packed": packed, "bfloat16": lambda: whole("bfloat16")}
    print(json.dumps({name: measured(way) for name, way in ways.items()}))


if __name__ == "__main__":
    main(Checkpoint.open(Path(sys.argv[1])), Path(sys.argv[2]))
