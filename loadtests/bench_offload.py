"""A decoder with memory for a part of its weights beside one with all of them, on the same random checkpoint.

    .venv/bin/python -m loadtests.bench_offload --shape large --frames 8

Each is loaded in a process of its own, which tells the most memory it held while loading, above what it held before,
and makes the same codes. For `large` that takes 11 GB of `--folder`, which is given back. The floor is the time the
memory needs to hand over, once, the weights that one step reads: what is on disk is in memory too for as long as nobody
else wants it. The last line is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils import logging as transformers_logging

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.language_model.engine.engine import Engine
from deployments.language_model.engine.request import num_steps
from deployments.language_model.loading import load_decoder
from deployments.language_model.offload import DISK, OffloadedDecoder, reserved_bytes
from deployments.language_model.placement import Offloaded, OnCpu, Placement, num_cores
from deployments.language_model.weights import DTYPES, weight_source
from deployments.messages import CodeRequest, Sampling
from loadtests.measuring.hardware import commit, describe, read_bandwidth
from loadtests.measuring.peak_memory import forget_peak, peak_bytes, resident_bytes
from loadtests.measuring.random_checkpoint import write_checkpoint
from loadtests.measuring.shapes import SHAPES

NUM_TEXT_TOKENS = 12


def make_codes(engine: Engine, frames: int) -> tuple[str, float]:
    """A hash of one request's codes, and seconds for all its steps."""
    states = np.random.default_rng(0).standard_normal((NUM_TEXT_TOKENS, engine.config.text_width)).astype(np.float32)
    engine.add(CodeRequest("request", states, frames, 0, Sampling()))
    made = []
    started = time.perf_counter()
    while not engine.idle:
        made += [part.codes for part in engine.step()]
    spent_s = time.perf_counter() - started
    return hashlib.sha256(np.concatenate(made, axis=1).tobytes()).hexdigest(), spent_s


def run_one(options: argparse.Namespace) -> dict[str, Any]:
    """One decoder, in this process."""
    checkpoint = Checkpoint.open(options.folder / "checkpoint")
    placement: Placement = OnCpu()
    source = weight_source(checkpoint, options.dtype)
    weight_bytes = sum(tensor.nbytes for tensor in source.empty().state_dict().values())
    if options.run == "offloaded":
        reserved = reserved_bytes(source.config, options.frames + max(source.config.delays), 1)
        placement = Offloaded(int(weight_bytes * options.share) + reserved, folder=options.folder / "offloaded")
    forget_peak()
    before, started = resident_bytes(), time.perf_counter()
    decoder = load_decoder(
        checkpoint, options.dtype, placement, max_frames=options.frames, num_slots=1, num_threads=options.threads
    )
    load_s, peak = time.perf_counter() - started, peak_bytes() - before
    engine = Engine(decoder, num_slots=1, max_frames=options.frames)
    codes, spent_s = make_codes(engine, options.frames)
    disk_bytes = decoder.plan.bytes_on(DISK) if isinstance(decoder, OffloadedDecoder) else 0
    engine.close()
    return {
        "weight_bytes": weight_bytes,
        "step_bytes": decoder.step_bytes,
        "disk_bytes": disk_bytes,
        "loading_peak_bytes": peak,
        "loading_s": round(load_s, 2),
        "ms_per_step": round(1000 * spent_s / num_steps(options.frames, decoder.config.delays), 2),
        "codes": codes,
    }


def in_a_process(options: argparse.Namespace, which: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "loadtests.bench_offload", "--run", which, "--folder", str(options.folder)]
    for name in ("shape", "dtype", "share", "frames", "threads"):
        command += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - our own module
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{which}: {figures}", file=sys.stderr)
    return figures


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measures both; the figures of the last line."""
    torch.set_num_threads(options.threads)
    print(f"{describe('cpu')}, commit {commit()}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="bench-offload-", dir=options.folder) as folder:
        options.folder = Path(folder)
        write_checkpoint(options.folder / "checkpoint", SHAPES[options.shape])
        ours, whole = (in_a_process(options, which) for which in ("offloaded", "whole"))
    asked = {name: getattr(options, name) for name in ("shape", "dtype", "share", "frames", "threads")}
    return asked | {
        **{name: ours[name] for name in ("weight_bytes", "disk_bytes", "loading_s", "ms_per_step")},
        "loading_peak_of_weights": round(ours["loading_peak_bytes"] / ours["weight_bytes"], 3),
        "peer": "the same decoder with all weights in memory",
        "peer_loading_peak_of_weights": round(whole["loading_peak_bytes"] / ours["weight_bytes"], 3),
        "peer_loading_s": whole["loading_s"],
        "peer_ms_per_step": whole["ms_per_step"],
        "same_codes": ours["codes"] == whole["codes"],
        "floor_ms_per_step": round(1000 * whole["step_bytes"] / read_bandwidth("cpu"), 2),
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench_offload", description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--share", type=float, default=1 / 3, help="of the weights that may be in memory")
    parser.add_argument("--frames", type=int, default=8, help="50 a second")
    parser.add_argument("--threads", type=int, default=num_cores())
    parser.add_argument("--folder", type=Path, help="on the disk to be used; the system's temporary one by default")
    parser.add_argument("--run", choices=["offloaded", "whole"], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    transformers_logging.set_verbosity_error()
    print(json.dumps(run_one(options) if options.run else run(options)))


if __name__ == "__main__":
    main(sys.argv[1:])
