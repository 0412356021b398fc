"""The whole service over HTTP: clients that wait, that disconnect, that request too much."""

from __future__ import annotations

import asyncio
import io
import time
from pathlib import Path

import httpx
import pytest
import soundfile
from ray import serve
from ray.serve.schema import ApplicationStatus

from deployments.language_model.engine.loop import EngineLoad
from serve_app.graph import build
from tests.service.conftest import MAX_QUEUED, SLOTS, RunningService, settings

ALL_FREE = EngineLoad(slots_used=0, slots_free=SLOTS, waiting=0)


async def compose(client: httpx.AsyncClient, seconds: float = 1, seed: int = 0, **fields: object) -> httpx.Response:
    body = {"prompt": f"song {seed}", "music_length_ms": round(1000 * seconds), "seed": seed, "cache": "off", **fields}
    return await client.post("/v1/music", json=body)


async def load(service: RunningService) -> EngineLoad:
    found: EngineLoad = await service.handle("tiny-language-model").load.remote()
    return found


async def load_becomes(service: RunningService, wanted: EngineLoad, within_s: float) -> EngineLoad:
    deadline = time.monotonic() + within_s
    while (found := await load(service)) != wanted and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    return found


def duration_s(response: httpx.Response) -> float:
    assert response.status_code == 200, response.text
    return soundfile.info(io.BytesIO(response.content)).duration


def test_of_ten_clients_three_disconnect_and_seven_get_their_clips(service: RunningService) -> None:
    async def disconnect(client: httpx.AsyncClient, seed: int) -> None:
        task = asyncio.create_task(compose(client, seconds=30, seed=seed))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def scenario() -> None:
        async with service.client() as client:
            leaving = [asyncio.create_task(disconnect(client, seed)) for seed in range(3)]
            staying = [asyncio.create_task(compose(client, seconds=1 + i / 2, seed=10 + i)) for i in range(7)]
            for i, response in enumerate(await asyncio.gather(*staying)):
                assert duration_s(response) == 1 + i / 2
            await asyncio.gather(*leaving)
        assert await load_becomes(service, ALL_FREE, within_s=5) == ALL_FREE

    asyncio.run(scenario())


def test_a_client_that_disconnects_frees_its_slot_within_a_second(service: RunningService) -> None:
    async def scenario() -> float:
        async with service.client() as client:
            task = asyncio.create_task(compose(client, seconds=30, seed=1))
            taken = EngineLoad(slots_used=1, slots_free=SLOTS - 1, waiting=0)
            assert await load_becomes(service, taken, within_s=10) == taken
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        left = time.monotonic()
        assert await load_becomes(service, ALL_FREE, within_s=5) == ALL_FREE
        return time.monotonic() - left

    assert asyncio.run(scenario()) < 1


def test_the_same_body_gives_the_same_bytes_alone_and_among_others(service: RunningService) -> None:
    async def scenario() -> None:
        async with service.client() as client:
            alone = await compose(client, seconds=2, seed=7)
            together = await asyncio.gather(*(compose(client, seconds=2, seed=seed) for seed in (5, 6, 7, 8, 7)))
        assert together[2].content == together[4].content == alone.content
        assert len({response.content for response in together}) == 4

    asyncio.run(scenario())


def test_the_first_second_is_the_same_for_a_longer_length(service: RunningService) -> None:
    async def scenario() -> None:
        async with service.client() as client:
            short, long = [await compose(client, seconds=s, seed=3, temperature=0.8) for s in (1, 2)]
        samples = [soundfile.read(io.BytesIO(response.content), dtype="int16")[0] for response in (short, long)]
        # The codec looks a few frames ahead: only there does the sound of the shorter clip know of its end. Before, its
        # last window is another excerpt of the same frames, and rounding may differ by the last bit.
        same = len(samples[0]) - 6 * len(samples[0]) // 50
        difference = samples[0][:same].astype(int) - samples[1][:same]
        assert abs(difference).max() <= 1

    asyncio.run(scenario())


def test_more_than_the_queue_holds_are_refused_at_once_with_a_time_to_retry(service: RunningService) -> None:
    async def scenario() -> None:
        async with service.client() as client:
            tasks = [asyncio.create_task(compose(client, seconds=30, seed=i)) for i in range(SLOTS + MAX_QUEUED + 3)]
            refused = 0
            for task in asyncio.as_completed(tasks):
                response = await task
                if response.status_code != 429:
                    break
                assert response.json()["error"]["type"] == "too_busy"
                assert int(response.headers["Retry-After"]) > 0
                refused += 1
                if refused == 3:
                    break
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert refused == 3
        assert await load_becomes(service, ALL_FREE, within_s=5) == ALL_FREE

    asyncio.run(scenario())


def test_the_language_model_answers_while_it_computes(service: RunningService) -> None:
    async def scenario() -> float:
        async with service.client() as client:
            task = asyncio.create_task(compose(client, seconds=30, seed=1))
            await load_becomes(service, EngineLoad(1, SLOTS - 1, 0), within_s=10)
            began_s = time.monotonic()
            await service.handle("tiny-language-model").ping.remote()
            took = time.monotonic() - began_s
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await load_becomes(service, ALL_FREE, within_s=5)
        return took

    assert asyncio.run(scenario()) < 1


def test_ready_names_every_deployment(service: RunningService) -> None:
    async def scenario() -> None:
        async with service.client() as client:
            ready, models = await client.get("/ready"), await client.get("/v1/models")
        assert ready.status_code == 200
        names = {"pipeline", "tiny-text-encoder", "tiny-language-model", "tiny-codec-decoder"}
        assert ready.json()["deployments"] == dict.fromkeys(names, True)
        assert models.json()["models"][0]["sample_rate"] == 16_000

    asyncio.run(scenario())


def test_an_endless_body_is_refused_without_being_read(service: RunningService) -> None:
    """By a bare socket: it reads while it writes, as curl does, and the server may close before all is written."""
    url = httpx.URL(service.url)
    head = b"POST /v1/music HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b" " * 2**16 + b"\r\n"
    limit = 2**28

    async def scenario() -> tuple[bytes, int]:
        while True:
            try:
                return await once()
            except ConnectionResetError:
                continue  # what the server had not read when it closed took the answer with it

    async def once() -> tuple[bytes, int]:
        reader, writer = await asyncio.open_connection(url.host, url.port)
        answer = asyncio.create_task(reader.readuntil(b"}}"))
        sent = 0
        writer.write(head)
        try:
            while not answer.done() and sent < limit:
                writer.write(chunk)
                await writer.drain()
                sent += len(chunk)
        except ConnectionError:
            pass
        writer.close()
        return await answer, sent

    answer, sent = asyncio.run(scenario())
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"payload_too_large" in answer
    assert sent < limit // 4


def test_an_answer_carries_the_request_id_once(service: RunningService) -> None:
    async def scenario() -> httpx.Response:
        async with service.client() as client:
            return await client.get("/health", headers={"X-Request-Id": "mine-1"})

    assert asyncio.run(scenario()).headers.get_list("x-request-id") == ["mine-1"]


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_fails_the_deployment_with_one_sentence(ray_cluster: int, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="failed"):
        serve.run(build(settings(Path("/no/such/folder"), tmp_path)), name="broken", route_prefix="/broken")
    try:
        status = serve.status().applications["broken"]
        assert status.status == ApplicationStatus.DEPLOY_FAILED
        messages = [deployment.message for deployment in status.deployments.values()]
        assert any("there is no folder /no/such/folder" in message for message in messages)
    finally:
        serve.delete("broken")
