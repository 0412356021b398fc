"""How fast the GPU's engine is: whole, beside its peer, and kernel by kernel."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from deployments.language_model.config import DecoderConfig
from deployments.language_model.engine.engine import Engine
from deployments.language_model.engine.request import num_steps
from deployments.language_model.gpu.decoder import GpuDecoder
from deployments.language_model.weights import expected_shapes, fuse
from loadtests.measuring.hardware import now
from loadtests.measuring.requests import FRAME_RATE, code_requests
from loadtests.measuring.shapes import SHAPES

WARM_UP_FRAMES = 8
INT8 = "int8"


@dataclass(frozen=True)
class Scale:
    """What is measured, and on what. frames: of one and of eight requests; long_frames: of more; bandwidth: bytes a
    second.
    """

    device: str
    shapes: tuple[str, ...]
    peer_shape: str
    requests: tuple[int, ...]
    dtypes: tuple[str, ...]
    frames: int
    long_frames: int
    peer_frames: int
    exact_frames: int
    bandwidth: float


def device_tensors(config: DecoderConfig, device: str, seed: int = 0) -> dict[str, Tensor]:
    """As `shapes.random_tensors`, but drawn where they are used: float32, norms one and zero."""
    generator = torch.Generator(device).manual_seed(seed)
    tensors = {}
    for name, shape in expected_shapes(config).items():
        if "norm" in name:
            tensors[name] = torch.full(shape, float(name.endswith("weight")), device=device)
        else:
            tensors[name] = torch.empty(shape, device=device).normal_(0, shape[-1] ** -0.5, generator=generator)
    return tensors


def new_decoder(config: DecoderConfig, dtype: str, device: str, max_frames: int, max_rows: int) -> GpuDecoder:
    weights = fuse(device_tensors(config, device), config, "float32" if dtype == INT8 else dtype, device)
    return GpuDecoder(config, weights, dtype, max_frames + max(config.delays), max_rows=max_rows)


@contextmanager
def new_engine(shape: str, dtype: str, device: str, requests: int, frames: int) -> Iterator[Engine]:
    """With room for as many requests, warm."""
    decoder = new_decoder(SHAPES[shape].config, dtype, device, frames, 2 * requests)
    engine = Engine(decoder, num_slots=requests, max_frames=frames)
    time_run(engine, device, requests, min(frames, WARM_UP_FRAMES))
    yield engine
    engine.close()


def time_run(engine: Engine, device: str, requests: int, frames: int) -> float:
    """Seconds for all requests, admitted together; nothing waits for the device until the end."""
    for request in code_requests(requests, frames, engine.config.text_width):
        engine.add(request)
    started_s = now(device)
    while not engine.idle:
        engine.step()
    return now(device) - started_s


def bench(scale: Scale) -> list[dict[str, object]]:
    """Each shape, type and number of requests at once; percent_of_floor: of the speed at which the weights can be read,
    and of that at which the weights, keys and values can be.
    """
    rows = []
    for shape, dtype, requests in itertools.product(scale.shapes, scale.dtypes, scale.requests):
        config = SHAPES[shape].config
        frames = scale.long_frames if requests == max(scale.requests) else scale.frames
        with new_engine(shape, dtype, scale.device, requests, frames) as engine:
            spent_s = min(time_run(engine, scale.device, requests, frames) for _ in range(2))
            step_bytes = engine.decoder.step_bytes
        steps = num_steps(frames, config.delays)
        cached_bytes = requests * 2 * (steps + 1) / 2 * engine.decoder.bytes_of(64, 1, 0) / 64
        ms, floor_ms = 1000 * spent_s / steps, 1000 * step_bytes / scale.bandwidth
        cached_ms = floor_ms + 1000 * cached_bytes / scale.bandwidth
        row: dict[str, object] = {
            "shape": shape,
            "dtype": dtype,
            "requests": requests,
            "frames": frames,
            "ms_per_step": round(ms, 3),
            "steps_per_s": round(1000 / ms, 1),
            "floor_ms": round(floor_ms, 3),
            "percent_of_floor": round(100 * floor_ms / ms, 1),
            "percent_of_floor_with_cache": round(100 * cached_ms / ms, 1),
            "audio_s_per_s": round(requests * frames / FRAME_RATE / spent_s, 1),
        }
        print(row, file=sys.stderr, flush=True)
        rows.append(row)
        del engine
        if scale.device == "cuda":
            torch.cuda.empty_cache()
    return rows


def peer(scale: Scale) -> list[dict[str, object]]:
    """transformers' `generate`, one by one and all at once, in bfloat16 on a GPU; fewer frames, which favours it."""
    from loadtests.measuring.peer import build_peer, time_peer

    shape, device = SHAPES[scale.peer_shape], scale.device
    model = build_peer(
        shape, device_tensors(shape.config, device), "bfloat16" if device == "cuda" else "float32", device
    )
    time_peer(model, 1, min(scale.peer_frames, WARM_UP_FRAMES))
    rows = []
    for requests in (1, max(scale.requests)):
        spent_s = time_peer(model, requests, scale.peer_frames)
        rows.append(
            {
                "shape": scale.peer_shape,
                "requests": requests,
                "frames": scale.peer_frames,
                "ms_per_step": round(1000 * spent_s / num_steps(scale.peer_frames, shape.config.delays), 3),
                "audio_s_per_s": round(requests * scale.peer_frames / FRAME_RATE / spent_s, 2),
            }
        )
    return rows


def profile(scale: Scale) -> list[dict[str, object]]:
    """One request of the first shape: where the time of its steps goes, by kernel."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if scale.device == "cuda":
        kinds = [torch.profiler.ProfilerActivity.CUDA]
    frames = min(50, scale.frames)
    with (
        new_engine(scale.shapes[0], scale.dtypes[0], scale.device, 1, frames) as engine,
        torch.profiler.profile(activities=kinds) as profiler,
    ):
        time_run(engine, scale.device, 1, frames)
    steps = num_steps(frames, engine.config.delays)
    on_gpu = scale.device == "cuda"
    events = profiler.key_averages()
    spent = {each.key: (each.self_device_time_total if on_gpu else each.self_cpu_time_total) for each in events}
    counts = {each.key: each.count for each in events}
    return [
        {
            "kernel": name[:60],
            "us_per_step": round(spent[name] / steps, 2),
            "launches_per_step": round(counts[name] / steps, 1),
        }
        for name in sorted(spent, key=lambda name: -spent[name])[:14]
    ]
