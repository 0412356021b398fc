"""A request whose pipeline replica is lost is resumed on another one, and the log says so."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.messages import CodeFrames, GenerationStart
from serve_app.errors import NotReady
from serve_app.sound.resuming import PipelineLost, stream_with_failover
from tests.serve_app.cache.cached import InMemory
from tests.serve_app.pipeline.replicas import Received, collect, replicas, request
from tests.serve_app.pipeline.scripted_stages import ScriptedStages


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.none() | st.just(9), mode=st.sampled_from(["use", "refresh", "off"]), at=st.integers(0, 290))
def test_a_request_whose_pipeline_is_lost_is_resumed_on_another(
    seed: int | None, mode: Any, at: int, tmp_path: Path
) -> None:
    async def scenario() -> None:
        stages = ScriptedStages(step_s=0)
        async with replicas(tmp_path, InMemory(), stages, lease_s=1.0) as both:
            requested, received = request(seed, 300, mode), Received()
            attempts = []

            def call(attempt: int, resumption: Any) -> Any:
                attempts.append(resumption)
                return both.calling(attempt % 2, requested, resumption)

            async with aclosing(stream_with_failover(call, silence_s=5)) as items:
                async for item in items:
                    if isinstance(item, GenerationStart):
                        received.start = item
                    else:
                        received.codes = np.concatenate([received.codes, item.codes], axis=1)
                    if received.codes.shape[1] >= at:
                        both.stopped.add(0)
            received.check(300)
            if len(attempts) > 1 and attempts[1] is not None:
                text_states = [each.text_states for each in stages.requests]
                assert all(np.array_equal(each, text_states[0]) for each in text_states)

    asyncio.run(scenario())


def test_a_lost_pipeline_is_in_the_log_with_the_ids_of_the_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> Received:
        async with replicas(tmp_path, InMemory(), ScriptedStages()) as both:

            async def call(attempt: int, resumption: Any) -> Any:
                async with aclosing(both.calling(attempt, request(5, 300), resumption)) as items:
                    async for item in items:
                        yield item
                        if attempt == 0 and isinstance(item, CodeFrames):
                            raise PipelineLost("killed")

            return await collect(stream_with_failover(call, silence_s=5, request_id="night-shift"))

    with caplog.at_level(logging.WARNING, "ray.serve.ingress"):
        received = asyncio.run(scenario())
    (lost,) = [vars(record) for record in caplog.records if record.name == "ray.serve.ingress"]
    assert received.start is not None
    assert lost["frame"] > 0
    assert (lost["event"], lost["generation"], lost["request_id"]) == (
        "pipeline_lost",
        received.start.key[:32],
        "night-shift",
    )


def test_pipelines_lost_one_after_the_other_end_in_an_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with replicas(tmp_path, InMemory(), ScriptedStages()) as both:
            both.stopped.update((0, 1))
            with pytest.raises(NotReady):
                await collect(stream_with_failover(lambda n, r: both.calling(n % 2, request(), r), silence_s=5))

    asyncio.run(scenario())
