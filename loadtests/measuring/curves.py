"""Audio-seconds per second, and latency, over requests at once: ours and transformers' batch, measured and drawn.

    .venv/bin/python -m loadtests.measuring.curves --shape tiny --requests 1,2,4,8,16,32

Every clip has --frames frames; the requests of a point are admitted together, and the peer makes them in one batch.
Points go to RESULTS/SHAPE-DEVICE.json, where a point measured again replaces the one before, so that a long curve can
be measured in parts; then all of them are drawn to the .png beside it. The last line is JSON: the points just measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from deployments.language_model.engine.request import num_steps
from deployments.language_model.loading import INT8, fastest_dtype
from deployments.language_model.weights import DTYPES
from loadtests.measuring.curve import Curve, Point
from loadtests.measuring.engine_times import time_engine, warm_engine
from loadtests.measuring.hardware import commit, describe, read_bandwidth
from loadtests.measuring.peer import build_peer, time_peer
from loadtests.measuring.plot import plot
from loadtests.measuring.requests import FRAME_RATE
from loadtests.measuring.shapes import SHAPES, random_tensors

RESULTS = Path(__file__).parents[1] / "results"
WARM_UP_FRAMES = 4


def measure(options: argparse.Namespace) -> Iterator[Curve]:
    """A curve of one point for each that is measured: ours, then the peer's, on the same weights and threads."""
    shape = SHAPES[options.shape]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tensors = random_tensors(shape.config)
    dtype = options.weights or fastest_dtype(shape.config, device)
    on = f"{describe(device)}, commit {commit()}"
    print(on, file=sys.stderr)
    clip_s, steps = options.frames / FRAME_RATE, num_steps(options.frames, shape.config.delays)
    bandwidth = read_bandwidth(device)
    with warm_engine(shape.config, tensors, dtype, device, max(options.requests), options.frames) as engine:
        floor_s = round(steps * engine.decoder.step_bytes / bandwidth, 4)
        for requests in options.requests:
            runs = [time_engine(engine, device, requests, options.frames) for _ in range(options.repeats)]
            best = min(runs, key=lambda run: run.total_s)
            point = Point.of("ours", dtype, best.audio_s, best.total_s, best.first_sound_s, requests, on)
            yield Curve(options.shape, device, clip_s, floor_s, (point,))
    peer = build_peer(shape, tensors, options.peer_dtype, device)
    time_peer(peer, 1, WARM_UP_FRAMES)
    for requests in (each for each in options.requests if each <= options.peer_requests):
        total_s = min(time_peer(peer, requests, options.frames) for _ in range(options.repeats))
        point = Point.of("transformers", options.peer_dtype, requests * clip_s, total_s, total_s, requests, on)
        yield Curve(options.shape, device, clip_s, floor_s, (point,))


def run(options: argparse.Namespace) -> list[dict[str, object]]:
    """Measures, and writes each point as soon as it is there; returns those that it measured."""
    measured: list[dict[str, object]] = []
    options.results.mkdir(parents=True, exist_ok=True)
    for curve in measure(options):
        path = options.results / f"{curve.shape}-{curve.device}.json"
        whole = Curve.read(path).with_points_of(curve) if path.exists() else curve
        whole.write(path)
        measured += [asdict(point) for point in curve.points]
    plot(whole, path.with_suffix(".png"))
    return measured


def _counts(text: str) -> tuple[int, ...]:
    counts = tuple(int(each) for each in text.split(","))
    if not counts or min(counts) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers like 1,2,4")
    return counts


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.measuring.curves", description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--requests", type=_counts, default=(1, 2, 4, 8, 16, 32), help="at once, point by point")
    parser.add_argument("--peer-requests", type=int, default=32, help="the most that the peer gets at once")
    parser.add_argument("--frames", type=int, default=500, help="of each clip; 50 a second")
    parser.add_argument("--weights", choices=[INT8, *DTYPES], help="ours; by default what the service would choose")
    parser.add_argument("--peer-dtype", choices=DTYPES, default="float32")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each point, of which the fastest counts")
    parser.add_argument("--results", type=Path, default=RESULTS)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    print(json.dumps({"points": run(parser.parse_args(arguments))}))


if __name__ == "__main__":
    main(sys.argv[1:])
