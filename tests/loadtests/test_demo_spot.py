"""`make demo-spot`, which CI runs: what goes on beside it, and processes that end. Its parts are in `spot/`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import psutil
import pytest

from loadtests.demo_spot import _meanwhile
from loadtests.spot.scenario import alive


def test_what_goes_wrong_beside_ends_the_work() -> None:
    async def ends(value: int) -> int:
        return value

    async def fails() -> None:
        raise OSError("no Locust")

    async def lasts() -> None:
        await asyncio.Event().wait()

    async def returns() -> None:
        pass

    async def work() -> int:
        await lasts()
        return 0

    def run(work: Awaitable[int], *others: Awaitable[None]) -> int:
        async def scenario() -> int:
            return await _meanwhile(work, *others)  # type: ignore[arg-type]

        return asyncio.run(scenario())

    assert run(ends(3), lasts()) == 3
    assert run(ends(3), returns()) == 3
    with pytest.raises(OSError, match="no Locust"):
        run(work(), lasts(), fails())


def test_a_process_that_nobody_has_looked_at_is_dead_all_the_same() -> None:
    ended = psutil.Popen(["true"])
    while alive(ended):
        pass
    assert ended.wait() == 0
    assert not alive(ended)
    assert alive(psutil.Process())
