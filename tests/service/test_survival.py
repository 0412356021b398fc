"""No work is lost and none is done twice: real replicas that are killed, stopped, drained and asked for the same."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal

import httpx
import psutil
import pytest

from deployments.language_model.engine_loop import EngineLoad
from tests.service.conftest import PAIR as APP
from tests.service.conftest import SLOTS, RunningService, processes
from tests.service.pair import (
    all_up,
    body,
    clip,
    digest,
    gathered,
    killed_in_the_middle,
    largest_window,
    made_again,
    made_by_name,
    until,
    until_async,
)
from tests.service.recorded import LETHAL_SEED, recorded

SECONDS = 15
LONG_SECONDS = 30  # where there is time, and where something has to last
WAYS = [(way, container) for way in ("wait", "stream") for container in ("wav", "pcm")]


def survive(pair: RunningService, rounds: int, seconds: int) -> None:
    """Each round: four clips at once, waiting and streaming, one of whose processes is killed at a random frame."""
    draw, num_frames = random.Random(rounds), 50 * seconds

    async def scenario() -> None:
        resumed = 0
        async with pair.client() as client:
            for number in range(rounds):
                seeds = [1000 * rounds + 10 * number + i for i in range(len(WAYS))]
                before = set(recorded(pair.frames))
                asked = [{"seed": seed, "seconds": seconds} for seed in seeds]
                calls = [clip(client, *way, **each) for way, each in zip(WAYS, asked, strict=True)]
                clips = asyncio.ensure_future(gathered(list(calls)))
                await killed_in_the_middle(pair.frames, before, num_frames, draw)
                disturbed = await clips
                for each in disturbed:
                    made = made_by_name(pair, each)
                    assert set(made.frames) == set(range(num_frames))
                    # A window that was made and one that was on its way when the process died.
                    assert made_again(made.frames) <= 2 * largest_window(num_frames) * (len(made.processes) - 1)
                    assert each.headers["X-Cache"] == "miss"
                    resumed += len(made.processes) > 1
                undisturbed = await gathered(
                    [clip(client, *way, **each, cache="off") for way, each in zip(WAYS, asked, strict=True)]
                )
                assert [digest(each) for each in disturbed] == [digest(each) for each in undisturbed]
                await all_up(APP, "tiny-language-model")
        assert resumed >= rounds

    asyncio.run(scenario())


def test_a_killed_language_model_changes_no_byte_of_any_clip(pair: RunningService) -> None:
    survive(pair, rounds=1, seconds=SECONDS)


@pytest.mark.slow
def test_twenty_clips_survive_kills_at_random_moments(pair: RunningService) -> None:
    survive(pair, rounds=5, seconds=LONG_SECONDS)


@pytest.mark.parametrize(("seed", "num_later"), [(None, 1000), pytest.param(77, 1000, marks=pytest.mark.slow)])
def test_fifty_who_ask_the_same_at_once_get_one_generation_and_however_many_later_none(
    pair: RunningService, seed: int | None, num_later: int
) -> None:
    async def scenario() -> None:
        prompt = {"prompt": f"the same {seed}"}
        before = set(recorded(pair.frames))
        async with pair.client() as client:
            both = [asyncio.create_task(one(client, i, prompt)) for i in range(50)]
            clips = await gathered(list(both))
            assert len({digest(each) for each in clips}) == 1
            assert len({each.headers["X-Seed"] for each in clips}) == 1
            outcomes = [each.headers["X-Cache"] for each in clips]
            assert outcomes.count("miss") == 1
            assert set(outcomes) <= {"miss", "joined", "hit"}
            new = {name: made for name, made in recorded(pair.frames).items() if name not in before}
            assert len(new) == 1
            (made,) = new.values()
            assert set(made.frames.values()) == {1}
            made_by_then = pair.frames.stat().st_size
            limit = asyncio.Semaphore(16)

            async def again(number: int) -> str:
                async with limit:
                    response = await one(client, number, prompt)
                    assert digest(response) == digest(clips[0])
                    return str(response.headers["X-Cache"])

            assert set(await asyncio.gather(*(again(i) for i in range(num_later)))) == {"hit"}
            assert pair.frames.stat().st_size == made_by_then, "the language model made nothing"

    async def one(client: httpx.AsyncClient, number: int, prompt: dict[str, str]) -> httpx.Response:
        return await clip(client, ("wait", "stream")[number % 2], "wav", seed=seed, seconds=1, **prompt)

    asyncio.run(scenario())


@pytest.mark.slow
def test_bystanders_of_a_request_that_kills_get_their_clips(pair: RunningService) -> None:
    async def scenario() -> None:
        async with pair.client() as client:
            before = set(recorded(pair.frames))
            lethal = asyncio.create_task(client.post("/v1/music", json=body(LETHAL_SEED, 10)))
            asked = [{"seed": 500 + i, "seconds": SECONDS} for i in range(len(WAYS))]
            clips = await gathered([clip(client, *way, **each) for way, each in zip(WAYS, asked, strict=True)])
            refused = await lethal
            assert (refused.status_code, refused.json()["error"]["type"]) == (500, "worker_lost_twice")
            new = {name: made for name, made in recorded(pair.frames).items() if name not in before}
            names = {each.headers["X-Generation-Id"][:16] for each in clips}
            assert [len(made.processes) for name, made in new.items() if name not in names] == [2]
            undisturbed = await gathered(
                [clip(client, *way, **each, cache="off") for way, each in zip(WAYS, asked, strict=True)]
            )
            assert [digest(each) for each in clips] == [digest(each) for each in undisturbed]
        await all_up(APP, "tiny-language-model")

    asyncio.run(scenario())


def test_the_first_of_those_who_joined_hangs_up_and_the_others_get_the_whole(pair: RunningService) -> None:
    async def scenario() -> None:
        async with pair.client() as client:
            before = set(recorded(pair.frames))
            leader = asyncio.create_task(clip(client, "stream", "wav", seed=600, seconds=SECONDS))
            await until(lambda: bool(set(recorded(pair.frames)) - before))
            others = [asyncio.create_task(clip(client, *way, seed=600, seconds=SECONDS)) for way in WAYS]
            await asyncio.sleep(0.1)
            leader.cancel()
            clips = await gathered(list(others))
            undisturbed = await gathered([clip(client, *way, seed=600, seconds=SECONDS, cache="off") for way in WAYS])
        assert [digest(each) for each in clips] == [digest(each) for each in undisturbed]

    asyncio.run(scenario())


@pytest.mark.slow
@pytest.mark.parametrize("deployment", ["pipeline", "tiny-text-encoder"])
def test_a_lost_replica_of_another_stage_changes_no_byte_either(pair: RunningService, deployment: str) -> None:
    """The codec decoder's is in test_streaming.py."""
    number = {"pipeline": 2}.get(deployment, 1)

    async def scenario() -> None:
        async with pair.client() as client:
            await all_up(APP, deployment, number)
            first_seed = 700 + 10 * len(deployment)
            asked = [{"seed": first_seed + i, "seconds": SECONDS} for i in range(len(WAYS))]
            before = set(recorded(pair.frames))
            calls = [clip(client, *way, **each) for way, each in zip(WAYS, asked, strict=True)]
            clips = asyncio.ensure_future(gathered(list(calls)))
            await until(lambda: bool(set(recorded(pair.frames)) - before))
            processes(APP, deployment)[0].kill()
            disturbed = await clips
            undisturbed = await gathered(
                [clip(client, *way, **each, cache="off") for way, each in zip(WAYS, asked, strict=True)]
            )
            assert [digest(each) for each in disturbed] == [digest(each) for each in undisturbed]
            await all_up(APP, deployment, number)

    asyncio.run(scenario())


@pytest.mark.slow
def test_requests_that_come_while_half_of_all_replicas_stand_still_go_to_the_others(
    pair: RunningService,
) -> None:
    """SIGSTOP for ten seconds, in the middle of clips. Nobody fails, and after SIGCONT nothing is made twice.

    What Serve's proxy hands to the ingress that stands still waits there: of a crowd that comes at once, up to half.
    """
    held_up = ("ingress", "pipeline", "tiny-language-model")

    async def scenario() -> None:
        async with pair.client() as client:
            for each in held_up:
                await all_up(APP, each)
            before = set(recorded(pair.frames))
            under_way = [
                asyncio.create_task(clip(client, *way, seed=800 + i, seconds=LONG_SECONDS))
                for i, way in enumerate(WAYS)
            ]
            await until(lambda: bool(set(recorded(pair.frames)) - before))
            stopped = [processes(APP, each)[0] for each in held_up]
            try:
                for process in stopped:
                    process.suspend()
                calls = [clip(client, *WAYS[i % 4], seed=810 + i, seconds=2) for i in range(6)]
                meanwhile = [asyncio.create_task(call) for call in calls]
                # Less than a lease: for longer, and what a pipeline that stands still had under way is made elsewhere.
                await asyncio.sleep(10)
            finally:
                for process in stopped:
                    process.resume()
            clips = await gathered([*under_way, *meanwhile])
            for number, each in enumerate(clips):
                made = made_by_name(pair, each)
                # A language model that wakes gives up what it had, and may be the one that goes on with it.
                most = largest_window(50 * LONG_SECONDS) * max(1, len(made.processes) - 1)
                if number >= len(WAYS):
                    # A call that was left for another may be read before the word that it was: these are that short.
                    most = max(most, len(made.frames))
                assert made_again(made.frames) <= most
            makers = [made_by_name(pair, each).processes[-1] for each in clips[len(WAYS) :]]
            assert any(maker != stopped[-1].pid for maker in makers)
            undisturbed = [
                await clip(client, *way, seed=800 + i, seconds=LONG_SECONDS, cache="off") for i, way in enumerate(WAYS)
            ]
            assert [digest(each) for each in clips[: len(WAYS)]] == [digest(each) for each in undisturbed]
            await until_async(lambda: is_ready(client))

    asyncio.run(scenario())


async def is_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/ready")).status_code == 200


@pytest.mark.slow
def test_a_language_model_that_is_told_to_end_loses_no_clip(pair: RunningService) -> None:

    async def scenario() -> None:
        async with pair.client() as client:
            before = set(recorded(pair.frames))
            under_way = [
                asyncio.create_task(clip(client, *way, seed=900 + i, seconds=LONG_SECONDS))
                for i, way in enumerate(WAYS)
            ]
            await until(lambda: bool(set(recorded(pair.frames)) - before))
            drained = processes(APP, "tiny-language-model")[0]
            drained.send_signal(signal.SIGTERM)  # what a node's shutdown sends
            clips = await gathered(list(under_way))
            await until(lambda: drained not in processes(APP, "tiny-language-model"))
            undisturbed = [
                await clip(client, *way, seed=900 + i, seconds=LONG_SECONDS, cache="off") for i, way in enumerate(WAYS)
            ]
            assert [digest(each) for each in clips] == [digest(each) for each in undisturbed]
        await all_up(APP, "tiny-language-model")

    asyncio.run(scenario())


def test_five_hundred_clients_that_vanish_leave_nothing_behind(pair: RunningService) -> None:
    """They connect, ask for a stream, and are gone within a second."""
    host, port = httpx.URL(pair.url).host, httpx.URL(pair.url).port
    assert port is not None

    async def vanish(number: int) -> None:
        _, writer = await asyncio.open_connection(host, port)
        content = httpx.Request("POST", "http://x", json=body(10_000 + number, 30)).read()
        head = f"POST /{APP}/v1/music/stream HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        await writer.drain()
        await asyncio.sleep(random.Random(number).random())
        writer.transport.abort()

    async def storm(size: int) -> None:
        await asyncio.gather(*(vanish(number) for number in range(size)))

    async def settled() -> None:
        free = EngineLoad(slots_used=0, slots_free=SLOTS, waiting=0)
        for _ in range(600):
            loads = [await pair.handle("tiny-language-model").load.remote() for _ in range(4)]
            generations = [await pair.handle("pipeline").load.remote() for _ in range(4)]
            if all(load == free for load in loads) and not any(generations):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{loads} {generations}")

    def held() -> tuple[int, int]:
        """File handles, and bytes of memory, of all replicas and the proxy."""
        everybody = [*processes(APP), *proxies()]
        return sum(each.num_fds() for each in everybody), sum(each.memory_info().rss for each in everybody)

    async def scenario() -> None:
        await all_up(APP, "tiny-language-model")
        await storm(100)  # what a process sets aside once, for its first crowd
        await settled()
        handles, memory = held()
        await storm(500)
        await settled()
        await until(lambda: held()[0] <= handles + 20)
        assert held()[1] <= memory + 150 * 2**20
        async with pair.client() as client:
            await clip(client, "stream", "wav", seed=9_999, seconds=1)

    asyncio.run(scenario())


def proxies() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "ProxyActor" in " ".join(child.cmdline()):
                found.append(child)
    return found
