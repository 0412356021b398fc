"""A kept lease is renewed while its block runs, given back however that ends, and never trusted when it may be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from serve_app.database.lease_table import HeldLease, Lease
from serve_app.database.leases import LeaseRenewer

LEASE = Lease("codes", "ours", 1)
LEASE_S = 15.0


class World:
    """A store that answers as it is told, and a clock and naps that the test ends."""

    lease_s = LEASE_S

    def __init__(self) -> None:
        self.now_s = 100.0
        self.answers: asyncio.Queue[bool | Exception | None] = asyncio.Queue()
        self.naps_s: list[float] = []
        self.napping = asyncio.Event()
        self.wake_up = asyncio.Event()
        self.num_released = 0
        self.answer_takes_s = 0.0

    async def renew(self, lease: Lease) -> bool | None:
        assert lease == LEASE
        answer = await self.answers.get()
        self.now_s += self.answer_takes_s
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def release(self, lease: Lease) -> None:
        assert lease == LEASE
        self.num_released += 1

    async def sleep(self, seconds: float) -> None:
        self.naps_s.append(seconds)
        self.napping.set()
        await self.wake_up.wait()
        self.wake_up.clear()

    def keeper(self) -> LeaseRenewer:
        return LeaseRenewer(self, HeldLease(LEASE, self.now_s + LEASE_S), clock=lambda: self.now_s, sleep=self.sleep)

    async def renewal(self, answer: bool | Exception | None, after_s: float = LEASE_S / 5) -> None:
        """One renewal comes, and is answered."""
        await self.napping.wait()
        self.napping.clear()
        self.now_s += after_s
        self.answers.put_nowait(answer)
        self.wake_up.set()
        while not self.answers.empty():
            await asyncio.sleep(0)
        await asyncio.sleep(0)


def run(test: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def within() -> None:
        await test(World())
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(within())


def test_it_is_renewed_five_times_in_its_time_and_given_back_at_the_end() -> None:
    async def test(world: World) -> None:
        async with world.keeper() as kept:
            for _ in range(20):
                await world.renewal(True)
                assert kept.is_surely_held()
                assert not kept.lost
        assert set(world.naps_s) == {LEASE_S / 5}
        assert world.num_released == 1

    run(test)


def test_one_that_is_lost_is_told_at_once_not_renewed_and_not_given_back() -> None:
    async def test(world: World) -> None:
        async with world.keeper() as kept:
            waiting = asyncio.create_task(kept.wait_until_lost())
            await world.renewal(True)
            assert not waiting.done()
            await world.renewal(False)
            await waiting
            assert kept.lost
            assert not kept.is_surely_held()
            assert len(world.naps_s) == 2
        assert world.num_released == 0

    run(test)


def test_an_outage_shorter_than_the_lease_costs_nothing_and_a_longer_one_leaves_it_in_doubt() -> None:
    async def test(world: World) -> None:
        async with world.keeper() as kept:
            for _ in range(4):
                await world.renewal(None)
                assert kept.is_surely_held()
            await world.renewal(None)
            assert not kept.is_surely_held()
            assert not kept.lost
            await world.renewal(True)
            assert kept.is_surely_held(), "the store says that nobody took it"
        assert world.num_released == 1

    run(test)


def test_a_process_that_was_stopped_does_not_trust_its_lease_when_it_wakes() -> None:
    async def test(world: World) -> None:
        async with world.keeper() as kept:
            await world.renewal(True)
            world.now_s += LEASE_S - 0.001
            assert kept.is_surely_held()
            world.now_s += 0.001
            assert not kept.is_surely_held()
        assert world.num_released == 1, "if it is still ours the store knows"

    run(test)


def test_an_answer_from_before_a_pause_does_not_count_as_new() -> None:
    async def test(world: World) -> None:
        world.answer_takes_s = LEASE_S
        async with world.keeper() as kept:
            await world.renewal(True)
            assert not kept.is_surely_held()

    run(test)


def test_an_error_in_the_block_travels_and_the_lease_is_given_back() -> None:
    async def test(world: World) -> None:
        with pytest.raises(ZeroDivisionError):
            async with world.keeper():
                raise ZeroDivisionError
        assert world.num_released == 1

    run(test)


def test_a_cancelled_block_gives_its_lease_back_also_when_it_is_cancelled_twice() -> None:
    async def test(world: World) -> None:
        for times in (1, 2):

            async def work() -> None:
                async with world.keeper():
                    await asyncio.Event().wait()

            working = asyncio.create_task(work())
            await world.napping.wait()
            world.napping.clear()
            for _ in range(times):
                working.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await working
            assert world.num_released == times
            await asyncio.sleep(0)

    run(test)


def test_what_ends_the_renewing_but_should_not_travels_when_the_block_ends() -> None:
    async def test(world: World) -> None:
        async def work() -> None:
            async with world.keeper() as kept:
                await world.renewal(ZeroDivisionError())
                world.now_s += LEASE_S
                assert not kept.is_surely_held()

        with pytest.raises(ZeroDivisionError):
            await work()
        assert world.num_released == 1

    run(test)
