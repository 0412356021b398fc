"""Who follows a job sees its last state, and its end, at the cost of one query for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping

from serve_app.errors import NotReady
from serve_app.job import Job
from serve_app.jobs.followers import Followers
from tests.serve_app.jobs.examples import job
from tests.virtual_time import run

REF = ("a", "1" * 32)


class JobsInDatabase:
    """What a query finds, and how many queries there were."""

    def __init__(self, *jobs: Job) -> None:
        self.jobs = {each.id: each for each in jobs}
        self.is_down = False
        self.queries: list[int] = []

    async def find(self, refs: Collection[tuple[str, str]]) -> Mapping[str, Job]:
        self.queries.append(len(refs))
        if self.is_down:
            raise NotReady("down")
        return {each: self.jobs[each] for _, each in refs if each in self.jobs}


async def all_of(following: AsyncGenerator[Job | None, None]) -> list[Job | None]:
    return [each async for each in following]


def test_a_follower_gets_the_job_at_once_each_change_and_the_end() -> None:
    async def scenario() -> None:
        database = JobsInDatabase(job(1))
        followers = Followers(database.find)
        seen: list[int] = []
        async for each in followers.follow(REF, -1):
            assert each is not None
            seen.append(each.version)
            if each.version < 3:
                database.jobs[REF[1]] = job(each.version + 1)
            elif each.version == 3:
                database.jobs[REF[1]] = job(9, "succeeded")
        assert seen == [1, 2, 3, 9]
        assert len(followers) == 0

    run(scenario())


def test_who_knows_a_version_is_told_of_later_ones_only() -> None:
    async def scenario() -> None:
        database = JobsInDatabase(job(7, "failed"))
        followers = Followers(database.find)
        assert await all_of(followers.follow(REF, 7)) == []
        assert await all_of(followers.follow(REF, 6)) == [job(7, "failed")]

    run(scenario())


def test_a_job_that_is_not_there_or_no_longer_is_told_as_none() -> None:
    async def scenario() -> None:
        database = JobsInDatabase()
        followers = Followers(database.find)
        assert await all_of(followers.follow(REF, -1)) == [None]
        database.jobs[REF[1]] = job(1)
        following = followers.follow(REF, -1)
        assert await anext(following) == job(1)
        del database.jobs[REF[1]]
        assert await all_of(following) == [None]

    run(scenario())


def test_moving_up_in_the_queue_is_news() -> None:
    async def scenario() -> None:
        database = JobsInDatabase(job(1, "queued", position=3))
        following = Followers(database.find).follow(REF, -1)
        assert (await anext(following)) == job(1, "queued", 3)
        database.jobs[REF[1]] = job(1, "queued", position=2)
        assert (await anext(following)) == job(1, "queued", 2)
        await following.aclose()

    run(scenario())


def test_while_the_database_is_down_followers_wait_and_then_go_on() -> None:
    async def scenario() -> None:
        database = JobsInDatabase(job(1))
        database.is_down = True
        following = Followers(database.find).follow(REF, -1)
        first = asyncio.ensure_future(anext(following))
        await asyncio.sleep(60)
        assert not first.done()
        database.is_down = False
        assert await first == job(1)
        await following.aclose()

    run(scenario())


def test_a_hundred_followers_cost_one_look_and_none_is_made_for_nobody() -> None:
    async def scenario() -> None:
        database = JobsInDatabase(job(1))
        followers = Followers(database.find)
        everyone = [followers.follow(REF, -1) for _ in range(100)]
        firsts = [asyncio.ensure_future(anext(each)) for each in everyone]
        assert await asyncio.gather(*firsts) == [job(1)] * 100
        waiting = [asyncio.ensure_future(anext(each, None)) for each in everyone]
        before = len(database.queries)
        await asyncio.sleep(10)
        assert 15 <= len(database.queries) - before <= 25
        assert set(database.queries) == {1}
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for each in everyone:
            await each.aclose()
        before = len(database.queries)
        await asyncio.sleep(10)
        assert len(database.queries) == before
        assert len(followers) == 0

    run(scenario())
