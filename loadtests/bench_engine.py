"""The engine beside transformers' `generate`, on the same random weights and threads, one after the other.

    .venv/bin/python -m loadtests.bench_engine --shape small --requests 1 --frames 100 --peer-dtype float32
    .venv/bin/python -m loadtests.bench_engine --shape tiny --requests 8 --frames 1500 --peer-frames 100 --through serve

Every request has guidance 3, temperature 1 and top_k 250. The peer makes all requests in one batch. A step is one
column of codes for every request. floor_ms_per_step: the time the memory needs to hand over, once, the weights that one
step reads; floor_with_cache_ms_per_step: with the keys and values, of the average step. With `--through serve` the same
requests are made once more by the language model's deployment behind Serve, on the same weights and threads:
serve_overhead_ratio is its time over the engine's. first_sound_ms: until the frames are there with which the last of
the requests begins to sound. The last line is JSON; what was not measured is null.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers.utils import logging as transformers_logging

from deployments.language_model.config import DecoderConfig
from deployments.language_model.engine.request import num_steps
from deployments.language_model.loading import INT8, fastest_dtype
from deployments.language_model.weights import DTYPES
from loadtests.measuring.engine_times import EngineTimes, time_engine, warm_engine
from loadtests.measuring.hardware import commit, describe, read_bandwidth
from loadtests.measuring.peer import PEER, build_peer, time_peer
from loadtests.measuring.requests import FRAME_RATE
from loadtests.measuring.shapes import SHAPES, DecoderShape, random_tensors
from serve_app.launcher.guardian import Guardian

WARM_UP_FRAMES = 4
BRANCHES = 2  # rows of a request with guidance


def measure_engine(
    config: DecoderConfig, tensors: Mapping[str, Tensor], dtype: str, options: argparse.Namespace
) -> tuple[EngineTimes, dict[str, object]]:
    """The fastest of the runs, and the floors."""
    with warm_engine(config, tensors, dtype, options.device, options.requests, options.frames) as engine:
        runs = [time_engine(engine, options.device, options.requests, options.frames) for _ in range(options.repeats)]
        weights_bytes = engine.decoder.step_bytes
    bandwidth = read_bandwidth(options.device)  # by all of torch's threads, which are its own again
    cached_bytes = cache_bytes(config, dtype, options.requests, options.frames)
    floors: dict[str, object] = {
        "floor_ms_per_step": round(1000 * weights_bytes / bandwidth, 3),
        "floor_with_cache_ms_per_step": round(1000 * (weights_bytes + cached_bytes) / bandwidth, 3),
    }
    return min(runs, key=lambda run: run.total_s), floors


def cache_bytes(config: DecoderConfig, dtype: str, requests: int, frames: int) -> float:
    """Of keys and values that the average step reads: two bytes each, four beside float32 weights."""
    value_bytes = 4 if dtype == "float32" else 2
    positions = (num_steps(frames, config.delays) + 1) / 2
    return requests * BRANCHES * positions * 2 * config.num_layers * config.width * value_bytes


def measure_serve(
    shape: DecoderShape, tensors: Mapping[str, Tensor], dtype: str, options: argparse.Namespace
) -> dict[str, float]:
    """What `loadtests.measuring.deployment` finds for a checkpoint of the same weights, in a Ray of its own."""
    folder = Path(tempfile.mkdtemp(prefix="musicgen-", dir="/tmp"))  # Ray's sockets want a short path
    with Guardian(folder, None) as guardian:
        build_peer(shape, tensors, "float32", "cpu").save_pretrained(folder / "checkpoint")
        command = [sys.executable, "-m", "loadtests.measuring.deployment", str(folder / "checkpoint"), "--dtype", dtype]
        command += ["--requests", str(options.requests), "--frames", str(options.frames)]
        command += ["--threads", str(torch.get_num_threads()), "--repeats", str(options.repeats)]
        command += ["--ray-folder", str(folder / "ray"), *(["--gpu"] if options.device != "cpu" else [])]
        # Ray listens on every interface: a token of this run alone, as `make run` has one.
        ray_only = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
        inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        environment = {**inherited, **ray_only, **guardian.environment}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)  # noqa: S603
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure_peer(shape: DecoderShape, tensors: Mapping[str, Tensor], options: argparse.Namespace) -> float:
    """Seconds of the fastest of the runs."""
    peer = build_peer(shape, tensors, options.peer_dtype, options.device)
    time_peer(peer, options.requests, WARM_UP_FRAMES)
    return min(time_peer(peer, options.requests, options.peer_frames) for _ in range(options.repeats))


def run(options: argparse.Namespace) -> dict[str, object]:
    """Measures each; the figures of the last line."""
    if options.threads:
        torch.set_num_threads(options.threads)
    options.device = "cuda" if torch.cuda.is_available() else "cpu"
    options.peer_frames = options.frames if options.peer_frames is None else options.peer_frames
    shape = SHAPES[options.shape]
    print(f"{describe(options.device)}, commit {commit()}", file=sys.stderr)
    tensors = random_tensors(shape.config)
    dtype = options.weights or fastest_dtype(shape.config, options.device)
    ours, floors = measure_engine(shape.config, tensors, dtype, options)
    serve = measure_serve(shape, tensors, dtype, options) if options.through == "serve" else None
    peer_s = measure_peer(shape, tensors, options) if options.peer_frames else None
    peer_audio_s_per_s = options.requests * options.peer_frames / FRAME_RATE / peer_s if peer_s else None
    return {
        "shape": options.shape,
        "device": options.device,
        "threads": torch.get_num_threads(),
        "dtype": dtype,
        "requests": options.requests,
        "frames": options.frames,
        "ms_per_step": round(ours.ms_per_step, 3),
        "audio_s_per_s": round(ours.audio_s_per_s, 3),
        "peer": PEER,
        "peer_dtype": options.peer_dtype,
        "peer_ms_per_step": peer_s and round(1000 * peer_s / num_steps(options.peer_frames, shape.config.delays), 3),
        "peer_audio_s_per_s": peer_audio_s_per_s and round(peer_audio_s_per_s, 3),
        "ratio": peer_audio_s_per_s and round(ours.audio_s_per_s / peer_audio_s_per_s, 3),
        **floors,
        "p50_ms_per_step": round(ours.percentile_ms(50), 3),
        "p99_ms_per_step": round(ours.percentile_ms(99), 3),
        "last_100_ms_per_step": round(ours.last_ms_per_step, 3),
        "first_sound_ms": round(1000 * ours.first_sound_s, 3),
        "peer_frames": options.peer_frames,
        "serve_audio_s_per_s": serve and round(ours.audio_s / serve["total_s"], 3),
        "serve_overhead_ratio": serve and round(serve["total_s"] / ours.total_s, 3),
        "serve_first_sound_ms": serve and round(1000 * serve["first_sound_s"], 3),
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench_engine", description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--requests", type=int, default=1, help="at once")
    parser.add_argument("--frames", type=int, default=100, help="of each; 50 a second")
    parser.add_argument("--weights", choices=[INT8, *DTYPES], help="ours; by default what the service would choose")
    parser.add_argument("--through", choices=["engine", "serve"], default="engine", help="serve: measured as well")
    parser.add_argument("--peer-dtype", choices=DTYPES, default="float32")
    parser.add_argument("--peer-frames", type=int, help="fewer, where the peer takes minutes; 0 leaves it out")
    parser.add_argument("--threads", type=int, help="of torch, for all; its own choice by default")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each, of which the fastest counts")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    print(json.dumps(run(parser.parse_args(arguments))))


if __name__ == "__main__":
    main(sys.argv[1:])
