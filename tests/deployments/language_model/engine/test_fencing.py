"""A replica that was suspended for longer than its lease gives up what it had when it wakes, and works again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from deployments.language_model.decoder import Decoder
from deployments.language_model.engine.engine import Engine
from deployments.language_model.engine.loop import EngineLoad, EngineLoop
from deployments.language_model.errors import EngineFenced
from deployments.liveness.self_fencing import SelfFencing
from deployments.liveness.timings import TIMINGS
from deployments.messages import CodeFrames, CodeRequest, Heartbeat
from tests.deployments.language_model.engine.clock import Clock
from tests.deployments.language_model.random_decoder import collect, request, run
from tests.deployments.language_model.suspended_replica import LEASE_S as SHORT_LEASE_S

LEASE_S = TIMINGS.engine_lease_s
EMPTY = EngineLoad(slots_used=0, slots_free=2, waiting=0)
LONG = 1500
Items = AsyncGenerator[CodeFrames | Heartbeat, None]


class Gate:
    """Holds the engine before a step while it is shut. steps: who ran in each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open, self._held, step = threading.Event(), threading.Event(), Engine.step
        self._open.set()
        self.steps: list[set[str]] = []

        def gated(engine: Engine) -> list[CodeFrames]:
            self.steps.append({each.request_id for each in engine.scheduler.running.values()})
            if not self._open.is_set():
                self._held.set()
                self._open.wait()
            return step(engine)

        monkeypatch.setattr(Engine, "step", gated)

    def shut(self) -> None:
        """Returns when the engine is held."""
        self._held.clear()
        self._open.clear()
        self._held.wait()

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def loop(decoder: Decoder, clock: Clock) -> Iterator[EngineLoop]:
    def build() -> Engine:
        return Engine(decoder, num_slots=2, max_waiting=1, max_frames=LONG)

    with EngineLoop(build, fencing=SelfFencing(clock=clock), heartbeat_s=0.01) as engine_loop:
        yield engine_loop


async def frames(items: Items) -> list[CodeFrames]:
    return [item async for item in items if isinstance(item, CodeFrames)]


async def codes_of(loop: EngineLoop, one: CodeRequest) -> np.ndarray:
    return collect(await frames(loop.generate(one)))[one.request_id]


async def first_frames(items: Items) -> None:
    async for item in items:
        if isinstance(item, CodeFrames):
            return


async def assert_given_up(items: Items) -> None:
    with pytest.raises(EngineFenced, match="no sign of life for more than 5 s"):
        await frames(items)


def test_a_loop_held_up_too_long_loses_who_runs_and_who_waits_before_it_moves(
    loop: EngineLoop, clock: Clock, decoder: Decoder
) -> None:
    async def scenario() -> np.ndarray:
        streams = [loop.generate(request(name, num_frames=LONG)) for name in ("a", "b", "waiting")]
        for stream in streams[:2]:
            await first_frames(stream)
        assert await anext(streams[2]) == Heartbeat(running=False)
        clock.advance(LEASE_S + 1)
        while loop.load != EMPTY:  # the engine sees for itself: nothing else happens on this loop
            time.sleep(0.001)  # noqa: ASYNC251
        for stream in streams:
            await assert_given_up(stream)
        await loop.check_integrity()
        return await codes_of(loop, request("next"))

    np.testing.assert_array_equal(asyncio.run(scenario()), run(Engine(decoder), request("next"))["next"])


def test_a_loop_that_wakes_before_the_engine_has_it_make_no_step_but_the_one_it_was_in(
    loop: EngineLoop, clock: Clock, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)

    async def scenario() -> np.ndarray:
        async with aclosing(loop.generate(request("old", num_frames=LONG))) as old:
            await first_frames(old)
            gate.shut()
            clock.advance(LEASE_S + 1)
            new = asyncio.create_task(codes_of(loop, request("new")))
            while loop._fencing.expired:
                await asyncio.sleep(0)
            num_steps = len(gate.steps)
            gate.open()
            await assert_given_up(old)
            codes = await new
            assert not any("old" in running for running in gate.steps[num_steps:])
            return codes

    np.testing.assert_array_equal(asyncio.run(scenario()), run(Engine(decoder), request("new"))["new"])


def test_a_request_from_before_the_silence_that_was_not_added_yet_is_dropped_too(
    loop: EngineLoop, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)

    async def scenario() -> None:
        async with (
            aclosing(loop.generate(request("old", num_frames=LONG))) as old,
            aclosing(loop.generate(request("added", num_frames=LONG))) as added,
        ):
            await first_frames(old)
            gate.shut()
            assert await anext(added) == Heartbeat(running=False)
            clock.advance(LEASE_S + 1)
            num_steps = len(gate.steps)
            gate.open()
            while not loop._commands.empty() or loop.load != EMPTY:  # the event loop is blocked, as above
                time.sleep(0.001)  # noqa: ASYNC251
            await assert_given_up(old)
            await assert_given_up(added)
            assert gate.steps[num_steps:] == []

    asyncio.run(scenario())


def test_one_slow_step_gives_nothing_up_while_the_loop_sends_heartbeats(
    loop: EngineLoop, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)

    async def scenario() -> None:
        async with aclosing(loop.generate(request("one", num_frames=50))) as items:
            await first_frames(items)
            gate.shut()
            for _ in range(5):
                clock.advance(LEASE_S - 1)
                while not isinstance(await anext(items), Heartbeat):
                    pass
                assert isinstance(await anext(items), Heartbeat)  # sent after the clock was wound, as one is at a time
            gate.open()
            assert (await frames(items))[-1].finished

    asyncio.run(scenario())


def test_an_idle_engine_may_be_silent_as_long_as_it_likes(loop: EngineLoop, clock: Clock) -> None:
    async def scenario() -> None:
        for i in range(3):
            clock.advance(100 * LEASE_S)
            assert (await codes_of(loop, request(f"r{i}"))).shape == (4, 20)

    asyncio.run(scenario())


def test_a_suspended_process_makes_nothing_of_what_it_had_when_it_goes_on(project_root: Path) -> None:
    command = [sys.executable, "-m", "tests.deployments.language_model.suspended_replica"]
    with subprocess.Popen(command, cwd=project_root, stdout=subprocess.PIPE, text=True) as replica:
        try:
            assert replica.stdout is not None
            assert replica.stdout.readline() == "at work\n"
            os.kill(replica.pid, signal.SIGSTOP)
            try:
                time.sleep(SHORT_LEASE_S + 0.5)
            finally:
                os.kill(replica.pid, signal.SIGCONT)
            told = json.loads(replica.stdout.readline())
        finally:
            replica.kill()
    assert told["given_up"] == ["running", "waiting"]
    assert told["steps_after_waking"] <= 1  # suspended between looking at the lease and the step
    assert told["next_frames"] == 20
