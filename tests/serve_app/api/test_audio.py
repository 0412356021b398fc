"""The finished file of a job's variation: whole, in parts, not at all; made once, and kept."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from deployments.messages import MusicRequest, Resumption
from serve_app.api.backends import ComposedMusic
from serve_app.errors import Gone
from serve_app.job import Fault
from serve_app.sound.containers import CONTAINER_FORMATS
from tests.serve_app.api.jobs_reference import DecodingBackend, ReferenceJobs, job_service, submitted
from tests.serve_app.api.middleware.test_hangup import PATIENCE_S, over_a_socket
from tests.serve_app.api.service import CARDS, ask, call, fault

REPEATABLE = [name for name in CONTAINER_FORMATS if name != "ogg"]


class Made:
    """A job that has succeeded, its service and the address of its sound."""

    @classmethod
    async def one(cls, backend: DecodingBackend | None = None, seed: int = 7, **request: Any) -> Made:
        self = cls()
        self.backend = backend or DecodingBackend()
        self.jobs = ReferenceJobs()
        self.app = job_service(self.jobs, self.backend)
        self.path = (await submitted(self.app, seed=seed, **request)).headers["location"]
        self.id = self.path.rpartition("/")[2]
        for number in range(request.get("variations", 1)):
            self.jobs.succeed(self.id, number)
        return self

    async def get(self, query: str = "", method: str = "GET", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await ask(self.app, method, f"{self.path}/audio{query}", headers=named)


def the_same_from_music(app: FastAPI, name: str, seed: int = 7) -> httpx.Response:
    body = {"prompt": "a tone", "music_length_ms": 100, "seed": seed}
    return call(app, "POST", f"/v1/music?output_format={name}", json=body)


@pytest.mark.parametrize("name", list(CONTAINER_FORMATS))
def test_the_sound_is_that_of_music_with_its_headers(name: str) -> None:
    made = asyncio.run(Made.one())
    sound = asyncio.run(made.get(f"?output_format={name}"))
    music = the_same_from_music(job_service(ReferenceJobs()), name)
    assert sound.status_code == 200
    if name in REPEATABLE:
        assert sound.content == music.content
    for header in (
        "content-type",
        "content-disposition",
        "x-generation-id",
        "x-seed",
        "x-duration-ms",
        "x-sample-rate",
    ):
        assert sound.headers[header] == music.headers[header]
    assert int(sound.headers["content-length"]) == len(sound.content)
    assert sound.headers["x-cache"] == "hit"
    assert int(sound.headers["age"]) > 0
    assert "server-timing" not in sound.headers


def test_each_variation_has_its_own() -> None:
    async def scenario() -> None:
        made = await Made.one(variations=3)
        sounds = [await made.get(f"?variation={number}") for number in range(3)]
        assert [sound.headers["x-seed"] for sound in sounds] == ["7", "8", "9"]
        assert len({sound.headers["etag"] for sound in sounds}) == len({sound.content for sound in sounds}) == 3
        assert (await made.get()).content == sounds[0].content

    asyncio.run(scenario())


def test_what_is_made_is_kept_and_what_is_kept_is_not_made() -> None:
    async def scenario() -> None:
        made = await Made.one()
        first = await made.get("?output_format=flac")
        again = await made.get("?output_format=flac")
        assert again.content == first.content
        assert made.backend.decoded == 1
        [kept] = made.backend.files.values()
        assert kept.sound == first.content

    asyncio.run(scenario())


def test_a_job_that_keeps_nothing_is_decoded_each_time() -> None:
    async def scenario() -> None:
        made = await Made.one(cache="off")
        assert (await made.get()).content == (await made.get()).content
        assert made.backend.decoded == 2
        assert not made.backend.files

    asyncio.run(scenario())


def test_all_who_ask_at_once_share_one_decoding() -> None:
    class Slow(DecodingBackend):
        def __init__(self) -> None:
            super().__init__()
            self.release = asyncio.Event()

        async def decode(self, request: MusicRequest, made: Resumption) -> ComposedMusic:
            await self.release.wait()
            return await super().decode(request, made)

    async def scenario() -> None:
        backend = Slow()
        made = await Made.one(backend, cache="off")
        asking = [asyncio.create_task(made.get()) for _ in range(20)]
        await asyncio.sleep(0)
        backend.release.set()
        assert len({answer.content for answer in await asyncio.gather(*asking)}) == 1
        assert backend.decoded == 1

    asyncio.run(scenario())


def test_head_is_the_headers_of_the_whole() -> None:
    async def scenario() -> None:
        made = await Made.one()
        whole = await made.get()
        head = await made.get("", "HEAD", Range="bytes=0-1")
        assert (head.status_code, head.content) == (200, b"")
        for answer in (whole, head):
            del answer.headers["x-request-id"], answer.headers["age"]
        assert head.headers == whole.headers

    asyncio.run(scenario())


def test_what_is_not_finished_is_a_conflict_that_says_when_to_come_again() -> None:
    async def scenario() -> list[httpx.Response]:
        jobs = ReferenceJobs()
        app = job_service(jobs)
        path = (await submitted(app)).headers["location"]
        queued = await ask(app, "GET", f"{path}/audio")
        jobs.begin(path.rpartition("/")[2])
        return [queued, await ask(app, "GET", f"{path}/audio")]

    for answer in asyncio.run(scenario()):
        assert (answer.status_code, fault(answer)["type"], answer.headers["retry-after"]) == (409, "conflict", "5")


def test_what_has_no_sound_is_a_conflict_that_says_why() -> None:
    async def scenario() -> None:
        jobs = ReferenceJobs()
        app = job_service(jobs)
        path = (await submitted(app, variations=3)).headers["location"]
        job_id = path.rpartition("/")[2]
        jobs.fail(job_id, Fault("worker_lost_twice", "Two workers were lost."))
        jobs.succeed(job_id, 1)
        await jobs.cancel("local", job_id)
        failed, made, cancelled = [await ask(app, "GET", f"{path}/audio?variation={number}") for number in range(3)]
        assert (failed.status_code, made.status_code, cancelled.status_code) == (409, 200, 409)
        assert "worker_lost_twice" in fault(failed)["message"]
        assert "Two workers were lost." in fault(failed)["message"]
        assert "cancelled" in fault(cancelled)["message"]
        assert "retry-after" not in failed.headers
        assert "retry-after" not in cancelled.headers

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("query", "status", "param"),
    [
        ("?variation=1", 404, None),
        ("?variation=63", 404, None),
        ("?variation=64", 422, "variation"),
        ("?variation=-1", 422, "variation"),
        ("?variation=x", 422, "variation"),
        ("?variation=0&variation=0", 422, "variation"),
        ("?output_format=opus", 422, "output_format"),
        ("?x=1", 422, "x"),
    ],
)
def test_what_there_is_not_is_told(query: str, status: int, param: str | None) -> None:
    made = asyncio.run(Made.one())
    answer = asyncio.run(made.get(query))
    assert (answer.status_code, fault(answer)["param"]) == (status, param)
    assert made.backend.decoded == 0


def test_without_the_model_that_made_it_it_is_gone() -> None:
    class Changed(DecodingBackend):
        async def decode(self, request: MusicRequest, made: Resumption) -> ComposedMusic:
            raise Gone("The model has changed.")

    made = asyncio.run(Made.one())
    made.backend.cards = CARDS[1:]
    assert asyncio.run(made.get()).status_code == 410
    made = asyncio.run(Made.one(Changed()))
    assert fault(asyncio.run(made.get()))["type"] == "gone"


def test_a_licence_that_is_accepted_no_more_is_named() -> None:
    made = asyncio.run(Made.one())
    made.backend.cards = [replace(CARDS[0], accepted=False)]
    assert fault(asyncio.run(made.get()))["type"] == "license_not_accepted"


def test_a_job_that_is_removed_while_its_sound_is_asked_for_is_not_found() -> None:
    class Removing(ReferenceJobs):
        async def made(self, tenant: str, job_id: str, variation: int) -> Resumption | None:
            await self.remove(tenant, job_id)
            return await super().made(tenant, job_id, variation)

    async def scenario() -> httpx.Response:
        jobs = Removing()
        app = job_service(jobs)
        path = (await submitted(app)).headers["location"]
        jobs.succeed(path.rpartition("/")[2])
        return await ask(app, "GET", f"{path}/audio")

    assert asyncio.run(scenario()).status_code == 404


def test_what_fails_at_once_is_answered_at_once_over_a_socket() -> None:
    """Where what watches for the client's hang-up has hardly begun when the work ends."""

    class Removed(ReferenceJobs):
        async def made(self, tenant: str, job_id: str, variation: int) -> Resumption | None:
            return None

    async def scenario() -> None:
        jobs = Removed()
        app = job_service(jobs)
        path = (await submitted(app)).headers["location"]
        jobs.succeed(path.rpartition("/")[2])

        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(f"GET {path}/audio HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert (await asyncio.wait_for(reader.readline(), PATIENCE_S)).startswith(b"HTTP/1.1 404 ")

        await over_a_socket(app, converse)

    asyncio.run(scenario())
