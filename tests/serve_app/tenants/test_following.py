"""Who follows a job hears of nobody else's."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

from tests.serve_app.auth.gates import run
from tests.serve_app.tenants.house import House, house


async def looked(opened: House, key: str) -> None:
    """Everybody who follows has been told what there is: who comes new has all of them looked after."""
    path = (await opened.submit(key)).headers["location"]
    await opened.follow(key, f"{path}/events")


def test_a_queued_jobs_reader_is_told_nothing_when_others_come_and_go(tmp_path: Path) -> None:
    async def test() -> None:
        async with house(tmp_path) as opened:
            job_id = (await opened.submit("a")).json()["id"]
            told = []

            async def follow() -> None:
                async with aclosing(opened.jobs.follow("anna", job_id)) as states:
                    async for job in states:
                        told.append(job)

            following = asyncio.create_task(follow())
            await looked(opened, "b")
            for _ in range(2):
                await opened.submit("b", queue="realtime")
                await looked(opened, "b")
            assert len(told) == 1
            await opened.ask("a", "DELETE", f"/v1/generations/{job_id}")
            await looked(opened, "b")
            await following
            assert [job.state for job in told if job is not None] == ["queued", "cancelled"]

    run(test)


def test_a_job_that_its_own_tenant_follows_too_is_told_to_no_other(tmp_path: Path) -> None:
    async def test() -> None:
        async with house(tmp_path) as opened:
            job_id = (await opened.submit("a")).json()["id"]
            async with (
                aclosing(opened.jobs.follow("anna", job_id)) as own,
                aclosing(opened.jobs.follow("ben", job_id)) as others,
            ):
                theirs = asyncio.ensure_future(anext(own))
                assert await anext(others) is None
                assert (await theirs) is not None

    run(test)
