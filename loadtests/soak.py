"""A thousand requests through one engine: whether memory stays.

    .venv/bin/python -m loadtests.soak --shape tiny --requests 1000

Twice as many clients as there are slots send requests of all kinds: short and long ones, with and without
guidance, with every kind of sampling, prompts of many lengths, resumed ones, and ones that are left on the way. Memory
is read after the first --settle of them, by when every slot has been used to its end, and after the last. The last line
is JSON: growth is of the process's resident memory; the counts are of objects that are alive at both times.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import asdict, dataclass

import numpy as np
import psutil
import torch

from deployments.language_model.config import DecoderConfig
from deployments.language_model.engine.engine import Engine
from deployments.language_model.engine.loop import EngineLoop
from deployments.language_model.loading import INT8, fastest_dtype, make_decoder, set_torch_threads, warm_up
from deployments.language_model.weights import DTYPES, fuse
from deployments.liveness.self_fencing import SelfFencing
from deployments.messages import CodeFrames, CodeRequest, Sampling
from loadtests.measuring.hardware import commit, describe
from loadtests.measuring.shapes import SHAPES, random_tensors

MB = 10**6
SAMPLINGS = (
    Sampling(),
    Sampling(guidance_scale=1.0),
    Sampling(temperature=0.0),
    Sampling(top_k=0, top_p=0.9),
    Sampling(guidance_scale=1.0, top_k=50, top_p=0.5, temperature=1.3),
)


@dataclass(frozen=True)
class Held:
    """What the process holds. rss_bytes: resident memory. tensors, objects: that Python's collector knows of."""

    rss_bytes: int
    tensors: int
    objects: int

    @classmethod
    def now(cls) -> Held:
        gc.collect()
        objects = gc.get_objects()
        tensors = sum(issubclass(type(each), torch.Tensor) for each in objects)  # isinstance would wake lazy proxies
        return cls(psutil.Process().memory_info().rss, tensors, len(objects))


@dataclass(frozen=True)
class Visit:
    """One request, and after how many of its chunks its client leaves; None: it stays to the end."""

    request: CodeRequest
    leaves_after: int | None


def visits(config: DecoderConfig, num: int, num_slots: int, max_frames: int, seed: int) -> Iterator[Visit]:
    """The first fill every slot to its end; the others are drawn."""
    rng = np.random.default_rng(seed)
    for i in range(num):
        full = i < num_slots
        num_frames = max_frames if full else int(rng.integers(1, max_frames + 1))
        prompt = None
        if not full and num_frames > 1 and rng.random() < 0.25:
            shape = (config.num_codebooks, int(rng.integers(1, num_frames)))
            prompt = rng.integers(0, config.vocab_size, shape).astype(np.int16)
        states = rng.standard_normal((int(rng.integers(1, 65)), config.text_width)).astype(np.float32)
        sampling = Sampling() if full else SAMPLINGS[int(rng.integers(len(SAMPLINGS)))]
        request = CodeRequest(f"visit-{i}", states, num_frames, int(rng.integers(2**63)), sampling, prompt)
        yield Visit(request, int(rng.integers(3)) if not full and rng.random() < 0.15 else None)


async def soak(loop: EngineLoop, plan: Iterator[Visit], num_clients: int, settle: int) -> tuple[Counter[str], Held]:
    """What became of the visits, and what was held when `settle` of them were over."""
    over: Counter[str] = Counter()
    settled: list[Held] = []

    async def client() -> None:
        for visit in plan:
            over[await _go(loop, visit)] += 1
            if over.total() >= settle and not settled:
                settled.append(Held.now())

    await asyncio.gather(*(client() for _ in range(num_clients)))
    await loop.check_integrity()
    return over, settled[0]


async def _go(loop: EngineLoop, visit: Visit) -> str:
    num_chunks = 0
    async with aclosing(loop.generate(visit.request)) as items:
        if visit.leaves_after == 0:
            return "left"
        async for item in items:
            num_chunks += isinstance(item, CodeFrames)
            if num_chunks == visit.leaves_after:
                return "left"
    return "whole" if visit.request.prompt_codes is None else "resumed"


def run(options: argparse.Namespace) -> dict[str, object]:
    config = SHAPES[options.shape].config
    num_threads = torch.get_num_threads()
    dtype = options.weights or fastest_dtype(config, "cpu")
    print(f"{describe('cpu')}, commit {commit()}", file=sys.stderr)

    def build() -> Engine:
        weights = fuse(random_tensors(config), config, "float32" if dtype == INT8 else dtype, "cpu")
        decoder = make_decoder(config, weights, dtype, options.frames, num_threads)
        engine = Engine(decoder, num_slots=options.slots, max_frames=options.frames)
        warm_up(engine)
        return engine

    set_torch_threads(dtype, num_threads)
    try:
        with EngineLoop(build, fencing=SelfFencing(math.inf)) as loop:  # nobody would take its requests over
            plan = visits(config, options.requests, options.slots, options.frames, options.seed)
            over, settled = asyncio.run(soak(loop, plan, 2 * options.slots, options.settle))
            end = Held.now()
    finally:
        torch.set_num_threads(num_threads)
    return {
        "shape": options.shape,
        "dtype": dtype,
        "requests": over.total(),
        **{kind: over[kind] for kind in ("whole", "resumed", "left")},
        "settled_after": options.settle,
        "settled_mb": round(settled.rss_bytes / MB, 2),
        "end_mb": round(end.rss_bytes / MB, 2),
        "growth": round(end.rss_bytes / settled.rss_bytes - 1, 5),
        "settled": asdict(settled),
        "end": asdict(end),
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--settle", type=int, default=50, help="requests after which memory is to stay")
    parser.add_argument("--frames", type=int, default=100, help="of the longest; 50 a second")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", choices=[INT8, *DTYPES], help="by default what the service would choose")
    print(json.dumps(run(parser.parse_args(arguments))))


if __name__ == "__main__":
    main(sys.argv[1:])
