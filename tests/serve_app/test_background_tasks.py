from __future__ import annotations

import asyncio

import pytest

from serve_app.tasks import BackgroundTask


async def for_ever() -> None:
    await asyncio.Event().wait()


async def failing() -> None:
    raise ZeroDivisionError


def test_closing_ends_the_work() -> None:
    async def scenario() -> None:
        work = BackgroundTask(for_ever)
        await work.close()
        work.start()
        await asyncio.sleep(0)
        assert work.fault is None
        await work.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


def test_what_ended_it_is_known_and_travels() -> None:
    async def scenario() -> None:
        work = BackgroundTask(failing)
        work.start()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert isinstance(work.fault, ZeroDivisionError)
        for ending in (work.close, work.finished):
            with pytest.raises(ZeroDivisionError):
                await ending()

    asyncio.run(scenario())
