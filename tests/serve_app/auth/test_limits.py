from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.auth.limits import AudioLimits, in_memory_storage
from serve_app.errors import InvalidRequest
from serve_app.settings.application import LimitsSettings
from tests.serve_app.auth.wall_clock import wall_clock


def limits(minute: int | None, day: int | None) -> AudioLimits:
    return AudioLimits(LimitsSettings(audio_s_per_minute=minute, audio_s_per_day=day), in_memory_storage())


async def remaining(of: AudioLimits, audio_s: float, key: str = "k") -> list[int] | None:
    """After the charge; None where it is refused."""
    charge = await of.charge(key, audio_s)
    return None if charge.retry_after_s is not None else [each.remaining for each in charge.statuses]


def test_what_is_granted_is_charged_to_every_limit_and_what_is_refused_to_none() -> None:
    async def scenario() -> None:
        of = limits(10, 15)
        assert await remaining(of, 8) == [2, 7]
        assert await remaining(of, 3) is None
        assert await remaining(of, 2) == [0, 5]
        assert await remaining(of, 2, "another") == [8, 13]

    asyncio.run(scenario())


def test_what_the_day_refuses_is_not_charged_to_the_minute() -> None:
    async def scenario() -> None:
        of = limits(10, 5)
        assert await remaining(of, 6) is None
        assert await remaining(of, 5) == [5, 0]
        refused = await of.charge("k", 1)
        assert refused.retry_after_s is not None
        assert refused.retry_after_s > 60

    # Shortly before midnight the day has room again sooner.
    with wall_clock():
        asyncio.run(scenario())


def test_of_many_at_once_as_many_are_granted_as_the_limit_has_room_for() -> None:
    async def scenario() -> None:
        of = limits(10, 20)
        outcomes = await asyncio.gather(*(remaining(of, 3) for _ in range(50)))
        assert sum(each is not None for each in outcomes) == 3

    asyncio.run(scenario())


@pytest.mark.parametrize(("audio_s", "charged"), [(0.001, 1), (1, 1), (1.001, 2), (0.1 + 0.2 + 0.7, 1), (9.9996, 10)])
def test_seconds_are_whole_and_rounded_up(audio_s: float, charged: int) -> None:
    assert asyncio.run(remaining(limits(10, None), audio_s)) == [10 - charged]


@given(st.integers(1, 50), st.integers(1, 50), st.floats(0, 100))
def test_what_can_never_be_granted_is_told_apart(minute: int, day: int, audio_s: float) -> None:
    of = limits(minute, day)
    if audio_s <= min(minute, day):
        of.check_possible(audio_s)
    elif audio_s > min(minute, day) + 0.001:
        with pytest.raises(InvalidRequest, match=r"can never be granted.*ask for \d+ s at most"):
            of.check_possible(audio_s)


def test_without_limits_all_is_granted() -> None:
    of = limits(None, None)
    assert not of.is_set
    of.check_possible(1e9)
    assert asyncio.run(remaining(of, 1e9)) == []
