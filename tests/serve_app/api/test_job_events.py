"""Following a job: what its readers are told, how often, and what they hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest

from serve_app.errors import NotReady
from serve_app.job import Fault, Job
from serve_app.proxy.flow_control import Acknowledgements
from tests import virtual_time
from tests.serve_app.api.asgi import DISCONNECT
from tests.serve_app.api.followed import Followed, Reader, events_in
from tests.serve_app.api.jobs_reference import ReferenceJobs, job_service
from tests.serve_app.api.middleware.test_hangup import PATIENCE_S, assert_no_task_is_left, forever
from tests.serve_app.api.service import ask, call, fault
from tests.serve_app.proxy.test_flow_control import Unlimited


def test_a_reader_is_told_every_state_and_how_far_it_is_until_the_end() -> None:
    async def scenario() -> None:
        job = await Followed.one()
        reader = Reader(job.path)
        reading = asyncio.create_task(reader.run(job.app, reader.scope))
        steps: list[Callable[[], object]] = [
            lambda: job.jobs.begin(job.id),
            lambda: job.jobs.save(job.id, 2),
            lambda: job.jobs.succeed(job.id),
        ]
        for number, step in enumerate(steps, 1):
            await reader.until_told(number)
            step()
        await reading
        assert [told[1] for told in reader.told] == ["queued", "running", "progress", "succeeded"]
        assert [told[0] for told in reader.told] == [1, 2, 3, 4]
        assert [told[2]["progress"] for told in reader.told] == [0, 0, 0.4, 1]
        assert reader.told[-1][2] == (await ask(job.app, "GET", job.path)).json()
        assert reader.text.startswith("retry: 2000\n\n")
        assert reader.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
        assert reader.headers[b"content-type"] == b"text/event-stream"
        assert reader.headers[b"cache-control"] == b"no-store"
        assert b"content-length" not in reader.headers
        assert_no_task_is_left()

    virtual_time.run(scenario())


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
def test_the_end_is_told_and_then_nothing(end: str) -> None:
    async def scenario() -> None:
        job = await Followed.one(variations=2)
        job.jobs.succeed(job.id)
        if end == "cancelled":
            await job.jobs.cancel("local", job.id)
        elif end == "failed":
            job.jobs.fail(job.id, Fault("internal", "It failed."), 1)
        else:
            job.jobs.succeed(job.id, 1)
        answer = await ask(job.app, "GET", f"{job.path}/events")
        assert [(told[0], told[1]) for told in events_in(answer.text)] == [(3, end)]
        again = await ask(job.app, "GET", f"{job.path}/events", headers={"Last-Event-ID": "3"})
        assert (again.status_code, again.content) == (204, b"")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("known", "told"), [(None, [3]), ("0", [3]), ("2", [3]), ("3", []), ("4", [3]), ("9" * 18, [3])]
)
def test_what_the_reader_knows_is_not_told_again(known: str | None, told: list[int]) -> None:
    async def scenario() -> None:
        job = await Followed.one()
        job.jobs.begin(job.id)
        job.jobs.save(job.id, 1)
        reader = Reader(job.path, {} if known is None else {"Last-Event-ID": known})
        reading = asyncio.create_task(reader.run(job.app, reader.scope))
        await reader.until(lambda: ": \n\n" in reader.text)
        assert [each[0] for each in reader.told] == told
        job.jobs.succeed(job.id)
        await reading
        assert [each[0] for each in reader.told] == [*told, 4]

    virtual_time.run(scenario())


@pytest.mark.parametrize("known", ["", "-1", "x", "1.0", "9" * 19, "%"])
def test_what_no_event_had_as_its_id_is_refused(known: str) -> None:
    jobs = ReferenceJobs()
    response = call(job_service(jobs), "GET", f"/v1/generations/{'0' * 32}/events", headers={"Last-Event-ID": known})
    assert (response.status_code, fault(response)["param"]) == (422, "Last-Event-ID")
    assert not jobs.calls


def test_a_comment_comes_every_fifteen_seconds_in_which_nothing_does() -> None:
    async def scenario() -> None:
        job = await Followed.one()
        reader = Reader(job.path)
        began_s = asyncio.get_running_loop().time()
        reading = asyncio.create_task(reader.run(job.app, reader.scope))
        await reader.until(lambda: reader.text.count(": \n\n") == 4)
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(60)
        assert len(reader.told) == 1
        job.jobs.succeed(job.id)
        await reading
        assert [told[1] for told in reader.told] == ["queued", "succeeded"]

    virtual_time.run(scenario())


def test_a_job_that_is_removed_has_no_more_events() -> None:
    async def scenario() -> None:
        job = await Followed.one()
        reader = Reader(job.path)
        reading = asyncio.create_task(reader.run(job.app, reader.scope))
        await reader.until_told(1)
        await job.jobs.cancel("local", job.id)
        await job.jobs.remove("local", job.id)
        await reading
        assert {told[1] for told in reader.told} <= {"queued", "cancelled"}
        assert reader.sent[-1]["more_body"] is False
        assert (await ask(job.app, "GET", f"{job.path}/events")).status_code == 404

    virtual_time.run(scenario())


def test_records_that_can_t_be_reached_for_a_while_cost_no_reader_its_connection() -> None:
    class Flaky(ReferenceJobs):
        outages = 0

        async def follow(self, tenant: str, job_id: str, after: int = -1) -> AsyncGenerator[Job | None, None]:
            async for job in super().follow(tenant, job_id, after):
                yield job
                if self.outages > 0:
                    break
            while self.outages > 0:
                self.outages -= 1
                raise NotReady("The records can't be reached.", retry_after_s=20)

    async def scenario() -> None:
        flaky = Flaky()
        job = await Followed.one(flaky)
        flaky.outages = 3
        reader = Reader(job.path)
        reading = asyncio.create_task(reader.run(job.app, reader.scope))
        await reader.until(lambda: ": \n\n" in reader.text)
        job.jobs.begin(job.id)
        await reader.until_told(2)
        job.jobs.succeed(job.id)
        await reading
        assert [told[0] for told in reader.told] == [1, 2, 3]
        assert flaky.outages == 0

    virtual_time.run(scenario())


@pytest.mark.parametrize("how", ["hang up", "cancel"])
@pytest.mark.parametrize("at", ["an event", "the end of the window"])
def test_a_reader_that_leaves_holds_nothing(how: str, at: str) -> None:
    async def scenario() -> None:
        followers = 0

        class Counted(ReferenceJobs):
            async def follow(self, tenant: str, job_id: str, after: int = -1) -> AsyncGenerator[Job | None, None]:
                nonlocal followers
                followers += 1
                try:
                    async for job in super().follow(tenant, job_id, after):
                        yield job
                finally:
                    followers -= 1

        job = await Followed.one(Counted())
        reader = Reader(job.path, takes=None if at == "an event" else forever)
        reading = asyncio.create_task(reader.run(job.app, reader.scope))
        if at == "an event":
            await reader.until_told(1)
            assert followers == 1
        else:
            await asyncio.sleep(1)
        if how == "hang up":
            reader.incoming.put_nowait(DISCONNECT)
        else:
            reading.cancel()
        await asyncio.wait([reading], timeout=PATIENCE_S)
        assert followers == 0
        assert_no_task_is_left()

    virtual_time.run(scenario())


def test_a_slow_reader_gets_the_last_state_and_has_one_event_waiting() -> None:
    """Behind a proxy that takes whatever it is given, as Serve's does."""

    async def scenario() -> None:
        job = await Followed.one()
        serve = Unlimited(job.app)
        reader = Reader(job.path, takes=lambda: asyncio.sleep(10))
        reading = asyncio.create_task(reader.run(Acknowledgements(serve), reader.scope))
        job.jobs.begin(job.id)
        for _ in range(200):
            job.jobs.save(job.id, 1)
            await asyncio.sleep(1)
        job.jobs.succeed(job.id)
        await reading
        versions = [told[0] for told in reader.told]
        assert versions == sorted(set(versions))
        assert len(versions) < 25
        assert (versions[-1], reader.told[-1][1]) == (203, "succeeded")
        largest = max(len(message["body"]) for message in reader.sent[1:])
        assert serve.held_bytes <= largest

    virtual_time.run(scenario())


def test_a_reader_that_sleeps_for_hours_is_not_left_nor_sent_heartbeats() -> None:
    async def scenario() -> None:
        job = await Followed.one()
        serve = Unlimited(job.app)
        wakes = asyncio.Event()
        reader = Reader(job.path, takes=wakes.wait)
        reading = asyncio.create_task(reader.run(Acknowledgements(serve), reader.scope))
        await asyncio.sleep(3 * 3600)
        assert serve.held_bytes < 100
        job.jobs.succeed(job.id)
        wakes.set()
        await reading
        assert [told[1] for told in reader.told] == ["succeeded"]
        assert ": \n\n" not in reader.text

    virtual_time.run(scenario())


def test_an_unexpected_failure_breaks_the_answer_off() -> None:
    class Broken(ReferenceJobs):
        async def follow(self, tenant: str, job_id: str, after: int = -1) -> AsyncGenerator[Job | None, None]:
            async for job in super().follow(tenant, job_id, after):
                yield job
                raise RuntimeError("broken")

    async def scenario() -> None:
        job = await Followed.one(Broken())
        reader = Reader(job.path)
        with pytest.raises(RuntimeError, match="broken"):
            await reader.run(job.app, reader.scope)
        assert len(reader.told) == 1
        assert reader.sent[-1]["more_body"] is True
        assert_no_task_is_left()

    asyncio.run(scenario())
