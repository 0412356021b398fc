"""`python -m tests.deployments.language_model.broken_replica CHECKPOINT`: a deployment whose engine breaks at work.

Nothing is printed once it has, by its caller or otherwise, but what the deployment logs.
"""

from __future__ import annotations

import asyncio
import logging
import logging.handlers
import sys

import numpy as np

from deployments.language_model.deployment import LanguageModelDeployment
from deployments.language_model.engine.engine import Engine
from deployments.language_model.placement import CpuShare, OnCpu
from deployments.messages import CodeFrames, CodeRequest, Sampling


def breaking(engine: Engine) -> list[CodeFrames]:
    raise MemoryError("no more")


async def read(deployment: LanguageModelDeployment) -> None:
    states = np.ones((3, 32), np.float32)
    try:
        async for _ in deployment.generate(CodeRequest("one", states, 5, 0, Sampling())):
            pass
    finally:
        print("heard of it", flush=True)


def main(source: str) -> None:
    deployment = LanguageModelDeployment(
        source,
        None,
        dtype="float32",
        placement=OnCpu(),
        cpu_share=CpuShare(1.0, 0.3, (0.3,) * 1000),
        num_slots=1,
        max_waiting=1,
        max_duration_ms=500,
    )
    lines = logging.StreamHandler()
    lines.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    held_back = logging.handlers.MemoryHandler(1000, logging.CRITICAL + 1, lines)  # for a while, as Serve's can be
    logging.getLogger("ray.serve.language_model").addHandler(held_back)
    Engine.step = breaking  # type: ignore[method-assign]
    print("at work", flush=True)
    asyncio.run(read(deployment))


if __name__ == "__main__":
    main(sys.argv[1])
