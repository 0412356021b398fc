"""`python -m tests.deployments.language_model.suspended_replica`: an engine at work, for a test that stops its process.

Says "at work" once it is, and when it has given up its requests a line of JSON: which, how many steps of theirs began
after the longest time between two, and how many frames a new request then got.
"""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise

from deployments.language_model.engine.engine import Engine
from deployments.language_model.engine.loop import EngineLoop
from deployments.language_model.errors import EngineFenced
from deployments.liveness.self_fencing import SelfFencing
from deployments.liveness.timings import uptime_s
from deployments.messages import CodeFrames, CodeRequest
from tests.deployments.language_model.random_decoder import random_decoder, request

LEASE_S = 3.0
LONG = 100_000


class TimedEngine(Engine):
    """began_s: when each of its steps did."""

    def __init__(self) -> None:
        super().__init__(random_decoder("float32", LONG, 1), num_slots=1, max_frames=LONG)
        self.began_s: list[float] = []

    def step(self) -> list[CodeFrames]:
        self.began_s.append(uptime_s())
        return super().step()


async def is_given_up(loop: EngineLoop, one: CodeRequest) -> None:
    try:
        async for item in loop.generate(one):
            if isinstance(item, CodeFrames) and not item.first_frame:
                print("at work", flush=True)
    except EngineFenced:
        return
    raise AssertionError("it was not given up")


async def main(loop: EngineLoop, began_s: list[float]) -> None:
    names = ["running", "waiting"]
    await asyncio.gather(*(is_given_up(loop, request(name, num_frames=LONG)) for name in names))
    began_s.append(uptime_s())
    gaps = [after - before for before, after in pairwise(began_s)]
    num_after = len(gaps) - 1 - gaps.index(max(gaps))
    made = [item async for item in loop.generate(request("next")) if isinstance(item, CodeFrames)]
    num_frames = sum(item.codes.shape[1] for item in made)
    print(json.dumps({"given_up": names, "steps_after_waking": num_after, "next_frames": num_frames}), flush=True)


if __name__ == "__main__":
    engine = TimedEngine()
    with EngineLoop(lambda: engine, fencing=SelfFencing(LEASE_S)) as engine_loop:
        asyncio.run(main(engine_loop, engine.began_s))
