"""Which decoder a setting means, its weights from a checkpoint, and a warm-up run.

`model.MusicgenDecoder` is plain torch: the float32 reference, bfloat16, and layers on several GPUs.
`cpu.decoder.Int8Decoder` is compiled for a CPU and `gpu.decoder.GpuDecoder` for a GPU; `offload` runs models that have
no room where they are computed.
"""

from __future__ import annotations

import ctypes

import numpy as np
import torch

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.checkpoints.config import CheckpointError
from deployments.language_model.config import DecoderConfig
from deployments.language_model.cpu.decoder import Int8Decoder
from deployments.language_model.cpu.kernels import HEAD_WIDTH
from deployments.language_model.decoder import Decoder
from deployments.language_model.engine.engine import Engine
from deployments.language_model.errors import EngineFull
from deployments.language_model.gpu.decoder import GpuDecoder, layer_devices, limit_memory, require_gpus
from deployments.language_model.model import MusicgenDecoder
from deployments.language_model.offload import OffloadedDecoder, load_offloaded
from deployments.language_model.placement import (
    Offloaded,
    OnCpu,
    OnGpu,
    OnGpus,
    Placement,
    computes_on_cpu,
    in_words,
)
from deployments.language_model.weights import (
    DecoderWeights,
    WeightSource,
    block_of,
    blocks,
    put,
    weight_source,
)
from deployments.messages import CodeRequest, Sampling

AUTO = "auto"
INT8 = "int8"


def fastest_dtype(config: DecoderConfig, device: str) -> str:
    """The numeric type of the weights that is fastest on this machine and repeats itself exactly."""
    if device != "cpu":
        return "bfloat16"
    if config.head_width == HEAD_WIDTH:
        return INT8
    # Without the instructions bfloat16 is emulated, slower than float32.
    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"


def set_torch_threads(dtype: str, num_threads: int) -> None:
    """How many of a process's threads torch may use.

    torch's threads wait for work by spinning: beside the int8 decoder's own they would take half the machine.
    """
    torch.set_num_threads(1 if dtype == INT8 else num_threads)


def make_decoder(
    config: DecoderConfig, weights: DecoderWeights, dtype: str, max_frames: int, num_threads: int, num_slots: int = 64
) -> Decoder:
    """The decoder for weights of this type, where they are.

    Args:
        weights: float32 for int8, else of the type itself; where they are is where it computes.
        num_slots: the most requests at once on a GPU; on a CPU they are 32.

    Raises:
        CheckpointError or ValueError: For a shape the kernels don't have.
    """
    max_positions = max_frames + max(config.delays)
    if weights.embedding.is_cuda:
        return GpuDecoder(config, weights, dtype, max_positions, max_rows=2 * num_slots)
    if dtype == INT8:
        return Int8Decoder(config, weights, max_positions, num_threads=num_threads)
    return MusicgenDecoder(config, weights, max_positions)


def load_decoder(
    checkpoint: Checkpoint, dtype: str, placement: Placement, *, max_frames: int, num_slots: int, num_threads: int
) -> Decoder:
    """The decoder of a checkpoint, by its settings.

    Sets torch's threads for the process, and what memory of a GPU it may take. Memory never holds more than the
    decoder's own weights and a layer or two that are being read.

    Args:
        dtype: int8 | bfloat16 | float32, or auto.
        max_frames: of a request.
        num_threads: of what a CPU computes.

    Raises:
        CheckpointError: For a checkpoint or a shape that can't be used.
        PlacementError: For a placement that this machine can't give.
    """
    config = DecoderConfig.from_transformers(checkpoint.config)
    chosen = _dtype(config, dtype, placement)
    set_torch_threads(chosen, num_threads if computes_on_cpu(placement) else 1)
    source = weight_source(checkpoint, "float32" if chosen == INT8 else chosen)
    max_positions = max_frames + max(config.delays)
    decoder: Decoder
    if isinstance(placement, Offloaded):
        decoder = load_offloaded(source, placement, max_positions, num_slots, checkpoint.fingerprint)
    elif isinstance(placement, OnGpus):
        decoder = _load_on_gpus(source, placement, max_positions)
    elif isinstance(placement, OnGpu):
        limit_memory(placement.fraction, placement.memory_bytes)
        decoder = make_decoder(config, source.lazy("cuda:0"), chosen, max_frames, num_threads, num_slots)
    else:
        weights = source.lazy() if chosen == INT8 else source.load()
        decoder = make_decoder(config, weights, chosen, max_frames, num_threads)
    _give_back_freed_memory()
    return decoder


def describe(decoder: Decoder, placement: Placement, num_threads: int) -> str:
    """Where a decoder's weights are, of what type, and how much of them a step reads: for the log."""
    threads = f" with {num_threads} thread{'s' if num_threads > 1 else ''}" if computes_on_cpu(placement) else ""
    where = f"{placement}{threads}"
    if isinstance(decoder, OffloadedDecoder):
        where += f", weights: {decoder.plan}" + (f" ({decoder.folder})" if decoder.folder else "")
    return f"{where}; {decoder.numerics}; a step reads {in_words(decoder.step_bytes)} of weights"


def _give_back_freed_memory() -> None:
    """glibc keeps the memory that reading took: 0.2 to 0.3 GB for an 8-bit small, half as much as its weights."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _dtype(config: DecoderConfig, dtype: str, placement: Placement) -> str:
    if isinstance(placement, OnGpus | Offloaded):
        if dtype == INT8:
            raise CheckpointError(f"8-bit weights are not run {placement}; set dtype: bfloat16")
        # The transfer to where they are computed takes most of the time, and these are half as many bytes.
        return "bfloat16" if dtype == AUTO else dtype
    return fastest_dtype(config, "cpu" if isinstance(placement, OnCpu) else "cuda") if dtype == AUTO else dtype


def _load_on_gpus(source: WeightSource, placement: OnGpus, max_positions: int) -> MusicgenDecoder:
    """What isn't a layer is on the first GPU."""
    require_gpus(placement.count)
    devices = layer_devices(source.config.num_layers, placement.count)
    weights = source.empty()
    for block in blocks(weights):
        _, _, layer = block_of(next(iter(block))).partition("layers.")
        put(weights, source.tensors(block, devices[int(layer or 0)]))
    return MusicgenDecoder(source.config, weights, max_positions, layer_devices=devices)


def warm_up(engine: Engine, num_frames: int = 4) -> None:
    """Fills every slot once, as far as there is memory, with all kinds of sampling: no request is to pay for that.

    Leaves the engine idle.
    """
    states = np.zeros((8, engine.config.text_width), np.float32)
    prompt = np.zeros((engine.config.num_codebooks, num_frames - 1), np.int16)
    kinds = [Sampling(), Sampling(guidance_scale=1.0), Sampling(temperature=0.0), Sampling(top_p=0.9)]
    for i in range(engine.scheduler.num_slots):
        codes = prompt if i % 2 else None
        _add(engine, CodeRequest(f"warm-up-{i}", states, num_frames, i, kinds[i % len(kinds)], codes))
    while not engine.idle:
        engine.step()


def _add(engine: Engine, request: CodeRequest) -> None:
    """At once, or when requests before it have made room."""
    while True:
        try:
            return engine.add(request)
        except EngineFull:
            engine.step()
