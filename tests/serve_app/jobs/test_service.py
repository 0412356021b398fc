"""A replica's jobs end with it, whatever comes in at the moment of its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from deployments.messages import CodeFrames, GenerationStart, MusicRequest, Resumption
from serve_app.database.engines import open_database, open_leases
from serve_app.jobs.service import JobService
from serve_app.settings.application import JobsSettings
from serve_app.settings.storage import DatabaseSettings
from tests.serve_app.auth.clock import until
from tests.serve_app.jobs.examples import submission


async def no_frames(
    request: MusicRequest, resumption: Resumption | None
) -> AsyncGenerator[GenerationStart | CodeFrames, None]:
    await asyncio.Event().wait()
    yield CodeFrames("", 0, None, True)  # type: ignore[arg-type]  # nobody gets this far


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[JobService]:
    records = DatabaseSettings(url=SecretStr(f"sqlite:///{folder}/records.sqlite"))
    database = open_database(records)
    service = JobService(database, open_leases(records, database), no_frames, ["tiny"], records, JobsSettings())
    async with service.running():
        yield service
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.timeout(60)
def test_news_that_comes_with_the_end_does_not_hold_it_up(tmp_path: Path) -> None:
    """Before Python 3.12 `asyncio.wait_for` loses a cancellation that comes together with what was waited for."""

    async def scenario() -> None:
        async with running(tmp_path) as service:
            await service.jobs.find("a", "0" * 32)
            await until(lambda: service._threads.num_unfinished == 0)
            for _ in range(10):
                await asyncio.sleep(0)  # now the runner waits for news
            await service.jobs.cancel("a", "0" * 32)

    asyncio.run(scenario())


@pytest.mark.timeout(60)
def test_wherever_the_runner_is_at_the_end_it_ends(tmp_path: Path) -> None:
    async def scenario() -> None:
        for turns in range(10):
            async with running(tmp_path) as service:
                await service.jobs.submit(submission())
                for _ in range(turns):
                    await asyncio.sleep(0)

    asyncio.run(scenario())
