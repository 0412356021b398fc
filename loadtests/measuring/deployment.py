"""The language model behind a real Serve: how fast frames come out of its handle, all requests at once.

    python -m loadtests.measuring.deployment FOLDER --requests 8 --frames 100 --threads 2

FOLDER: a checkpoint. Started by `bench_engine --through serve`, with an environment that keeps Ray to itself. The last
line is JSON: of the fastest of --repeats runs, total_s, and first_sound_s until the last request could begin to sound.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import ray
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.language_model.config import DecoderConfig
from deployments.language_model.deployment import LanguageModelDeployment
from deployments.language_model.placement import CpuShare, OnCpu, OnGpu, num_cores
from deployments.messages import CodeFrames, CodeRequest
from loadtests.measuring.requests import FRAME_RATE, code_requests


async def generate(handle: DeploymentHandle, requests: Sequence[CodeRequest]) -> tuple[float, float]:
    """Seconds for all of them, and until the last one's first chunk."""
    began_s = time.perf_counter()
    first_s: list[float] = []

    async def one(request: CodeRequest) -> None:
        waiting = True
        async for item in handle.options(stream=True).generate.remote(request):
            if waiting and isinstance(item, CodeFrames):
                waiting = False
                first_s.append(time.perf_counter() - began_s)

    await asyncio.gather(*(one(request) for request in requests))
    return time.perf_counter() - began_s, max(first_s)


def run(options: argparse.Namespace) -> dict[str, float]:
    config = DecoderConfig.from_transformers(Checkpoint.open(options.folder).config)
    deployment = serve.deployment(
        LanguageModelDeployment,
        name="language-model",
        max_ongoing_requests=2 * options.requests,
        ray_actor_options={"num_cpus": 0, "num_gpus": 1 if options.gpu else 0},
    )
    application = deployment.bind(
        str(options.folder),
        None,
        dtype=options.dtype,
        placement=OnGpu() if options.gpu else OnCpu(),
        cpu_share=CpuShare(util_target=min(1.0, options.threads / num_cores())),
        num_slots=options.requests,
        max_waiting=options.requests,
        max_duration_ms=1000 * options.frames // FRAME_RATE,
    )
    handle = serve.run(application, name="bench", route_prefix=None)
    requests = code_requests(options.requests, options.frames, config.text_width)
    few = code_requests(options.requests, min(options.frames, 20), config.text_width)
    asyncio.run(generate(handle, few))
    total_s, first_s = min(asyncio.run(generate(handle, requests)) for _ in range(options.repeats))
    return {"total_s": total_s, "first_sound_s": first_s}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.measuring.deployment", description=__doc__.splitlines()[0]
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--requests", type=int, default=1, help="at once")
    parser.add_argument("--frames", type=int, default=100, help="of each; 50 a second")
    parser.add_argument("--threads", type=int, default=num_cores(), help="of the engine, where it computes on a CPU")
    parser.add_argument("--repeats", type=int, default=1, help="runs of all requests, of which the fastest counts")
    parser.add_argument("--ray-folder", help="for Ray's session; Ray's own choice by default")
    options = parser.parse_args(arguments)
    ray.init(
        address="local",
        namespace="serve",
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=2**28,
        _temp_dir=options.ray_folder,
    )
    try:
        serve.start(proxy_location="Disabled")
        figures = run(options)
    finally:
        serve.shutdown()
        ray.shutdown()
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
