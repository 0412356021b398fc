"""Beside each window its slow, obvious reference, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.auth import limits
from serve_app.auth.limits import DayWindow, MinuteWindow
from tests.serve_app.auth.wall_clock import wall_clock

LIMIT = 30
STEPS = st.lists(st.tuples(st.floats(0, 40), st.integers(1, LIMIT)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_no_sixty_seconds_have_more_than_the_minutes_limit_and_nothing_else_is_refused(
    steps: list[tuple[float, int]],
) -> None:
    async def scenario(wall: SimpleNamespace) -> None:
        minute = MinuteWindow("m", limits.in_memory_storage(), LIMIT)
        granted: list[tuple[float, int]] = []

        def used(at_s: float) -> int:
            return sum(cost for when_s, cost in granted if when_s >= at_s - 60)

        for wait_s, cost in steps:
            wall.now_s += wait_s
            may = used(wall.now_s) + cost <= LIMIT
            assert await minute.allows("k", cost) == may
            if not may:
                told_s = await minute.wait_s("k", cost)
                assert used(wall.now_s + told_s + 1e-6) + cost <= LIMIT
                assert told_s == 1 or used(wall.now_s + told_s - 1) + cost > LIMIT
            assert await minute.charge("k", cost) == may
            if may:
                granted.append((wall.now_s, cost))
            status = await minute.status("k")
            assert status.remaining == LIMIT - used(wall.now_s)
            assert 0 <= status.reset_s <= 60

    with wall_clock() as wall:
        asyncio.run(scenario(wall))


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_the_day_before_counts_by_the_part_of_it_that_is_within_24_hours(steps: list[tuple[float, int]]) -> None:
    day_s = 86_400

    async def scenario(wall: SimpleNamespace) -> None:
        day = DayWindow("d", limits.in_memory_storage(), LIMIT)
        by_day: dict[int, int] = {}

        def used(at_s: float) -> int:
            today, part = int(at_s // day_s), (at_s % day_s) / day_s
            return math.floor(by_day.get(today - 1, 0) * (1 - part) + by_day.get(today, 0) + 1e-9)

        for hours, cost in steps:
            wall.now_s += hours * 3600
            may = used(wall.now_s) + cost <= LIMIT
            assert await day.allows("k", cost) == may
            if not may:
                told_s = await day.wait_s("k", cost)
                assert used(wall.now_s + told_s) + cost <= LIMIT
                assert told_s == 1 or used(wall.now_s + told_s - 2) + cost > LIMIT
            assert await day.charge("k", cost) == may
            if may:
                by_day[int(wall.now_s // day_s)] = by_day.get(int(wall.now_s // day_s), 0) + cost
            assert (await day.status("k")).remaining == max(0, LIMIT - used(wall.now_s))

    with wall_clock() as wall:
        asyncio.run(scenario(wall))


def test_keys_do_not_share_a_window() -> None:
    async def scenario() -> None:
        minute = MinuteWindow("m", limits.in_memory_storage(), 1)
        assert await minute.charge("a", 1)
        assert await minute.charge("b", 1)
        assert not await minute.charge("a", 1)

    asyncio.run(scenario())


def test_who_has_all_has_nothing_to_wait_for() -> None:
    async def scenario() -> None:
        storage = limits.in_memory_storage()
        for each in (MinuteWindow("m", storage, 5), DayWindow("d", storage, 5)):
            status = await each.status("k")
            assert (status.limit, status.remaining, status.reset_s) == (5, 5, 0)
            assert await each.charge("k", 1)
            assert (await each.status("k")).reset_s >= 0

    asyncio.run(scenario())
