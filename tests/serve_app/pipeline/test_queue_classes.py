"""A generation goes to the engines of its queue class, and moves when somebody begins to wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deployments.messages import CodeFrames, CodeRequest, Heartbeat
from serve_app.scaling.policy import NOTHING_WAITS, Waiting
from tests.serve_app.cache.cached import InMemory
from tests.serve_app.pipeline.replicas import MODEL, receive, replicas, request
from tests.serve_app.pipeline.scripted_generation import new_generation, receive_all
from tests.serve_app.pipeline.scripted_stages import Crashes, Queues, ScriptedStages, SlowsDown, Stalls, codes_of
from tests.virtual_time import run


@pytest.mark.parametrize("behaviour", [None, Queues(500), Stalls(0), SlowsDown(30, 500)])
def test_a_realtime_subscriber_moves_a_batch_generation_to_the_realtime_engines(behaviour: object) -> None:
    """Wherever it is: at work, waiting for a slot, or for a machine. What it has goes along."""

    async def scenario() -> None:
        stages = ScriptedStages([] if behaviour is None else [behaviour], step_s=0.01)  # type: ignore[list-item]
        generation = new_generation(stages, queue="batch")
        first = asyncio.create_task(receive_all(generation.join(200, "batch")))
        running = asyncio.create_task(generation.run())
        await asyncio.sleep(0.5)
        began_s = asyncio.get_running_loop().time()
        second = asyncio.create_task(receive_all(generation.join(200, "realtime")))
        assert np.array_equal(await first, codes_of(1, 200))
        assert np.array_equal(await second, codes_of(1, 200))
        await running
        assert [each.queue for each in stages.requests] == ["batch", "realtime"]
        assert asyncio.get_running_loop().time() - began_s < 3, "it moves at once"
        assert stages.num_running == 0
        # Scripted workers check that each goes on from its own codes.
        assert max(stages.made.values()) <= 2

    run(scenario())


def test_a_batch_generation_without_realtime_subscribers_stays_where_it_is() -> None:
    async def scenario() -> None:
        stages = ScriptedStages([Crashes(30)])
        generation = new_generation(stages, queue="batch")
        listening = [asyncio.create_task(receive_all(generation.join(100, "batch"))) for _ in range(2)]
        await generation.run()
        await asyncio.gather(*listening)
        assert [each.queue for each in stages.requests] == ["batch", "batch"]

    run(scenario())


class Asleep(ScriptedStages):
    """No engine answers for batch before it is woken."""

    def __init__(self) -> None:
        super().__init__()
        self.requested = asyncio.Event()
        self.awake = asyncio.Event()

    async def generate(self, request: CodeRequest) -> AsyncGenerator[CodeFrames | Heartbeat, None]:
        if request.queue == "batch":
            self.requested.set()
            await self.awake.wait()
        async with aclosing(super().generate(request)) as items:
            async for item in items:
                yield item


def test_a_pipeline_reports_generations_that_no_engine_has_accepted(tmp_path: Path) -> None:
    async def scenario() -> None:
        stages = Asleep()
        async with replicas(tmp_path, InMemory(), stages, number=1) as all_of_them:
            [pipeline] = all_of_them.pipelines
            asleep = asyncio.create_task(receive(pipeline, replace(request(2, 150), queue="batch")))
            await stages.requested.wait()
            assert pipeline.waiting() == {(MODEL, "batch"): Waiting(1, 150)}
            await receive(pipeline, request(1, 100))
            assert pipeline.waiting() == {(MODEL, "batch"): Waiting(1, 150)}, "real time's has been taken in and made"
            stages.awake.set()
            (await asleep).check(150)
            assert pipeline.waiting() == {}

    asyncio.run(scenario())  # a database answers in its own time


def test_waiting_adds_up() -> None:
    assert NOTHING_WAITS + Waiting(1, 50) + Waiting(2, 100) == Waiting(3, 150)
    assert Waiting(3, 150).audio_s == 3
