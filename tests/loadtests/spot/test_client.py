"""The demonstration's own client, at a service that answers as it is asked to."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import soundfile
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loadtests.spot.client import Client
from loadtests.spot.losses import LossLog
from loadtests.spot.reference import LANES, Reference, Take
from serve_app.sound.windows import WindowCache
from tests.loadtests.spot.examples import reference


def test_each_clip_is_a_job_for_spot_nodes_that_no_cache_has_and_no_other_clip_is_the_same() -> None:
    some = [Reference.numbered(number) for number in range(1, 3 * LANES + 1)]
    assert len({each.seed for each in some}) == len(some)
    assert {(each.body["queue"], each.body["cache"]) for each in some} == {("batch", "off")}
    assert [each.lane for each in some] == 3 * [*range(1, LANES + 1)]


def test_a_clip_is_being_made_from_its_first_sound_until_little_is_left() -> None:
    take = Take(reference(1), 0.0)
    seen = [take.is_being_made]
    for moment, progress in enumerate((0.0, 0.1, 0.7, 0.8)):
        take.heard({"progress": progress, "variations": [{"music_id": None}]}, float(moment))
        seen.append(take.is_being_made)
    assert seen == [False, False, True, True, False]
    assert not replace(take, progress=[0.5], ended_s=4.0).is_being_made


async def submit(request: Request) -> Response:
    asked = await request.json()
    return JSONResponse({"id": f"{asked['seed']}"}, 503 if asked["seed"] == 3 else 202)


async def follow(request: Request) -> Response:
    number = int(request.path_params["number"])
    told = [
        {"state": state, "progress": progress, "variations": [{"music_id": name}]}
        for state, progress, name in (
            ("queued", 0.0, None),
            ("running", 0.5, f"{number:032x}"),
            ("failed" if number == 2 else "succeeded", 1.0, f"{number:032x}"),
        )
    ]
    text = "".join(f"id: {i}\nevent: progress\ndata: {json.dumps(each)}\n\n" for i, each in enumerate(told))
    return Response(text, media_type="text/event-stream")


async def audio(_: Request) -> Response:
    file = io.BytesIO()
    soundfile.write(file, np.full(1000, 0.5), 1000, format="WAV")
    return Response(file.getvalue())


async def remove(_: Request) -> Response:
    return Response(status_code=204)


ROUTES = [
    Route("/v1/generations", submit, methods=["POST"]),
    Route("/v1/generations/{number}/events", follow),
    Route("/v1/generations/{number}/audio", audio),
    Route("/v1/generations/{number}", remove, methods=["DELETE"]),
]


@asynccontextmanager
async def client(log: Path) -> AsyncIterator[Client]:
    transport = httpx.ASGITransport(Starlette(routes=ROUTES))
    async with httpx.AsyncClient(base_url="http://test", transport=transport) as http:
        yield Client(http, LossLog(lambda: [log], 0.0), time.time)


def test_each_job_is_followed_fetched_and_removed_and_its_end_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "log").touch()

    async def scenario() -> list[Take]:
        async with client(tmp_path / "log") as asking:
            for number in (1, 2, 3):
                await asking.make(reference(number), lambda take: True)
            await asking.make(reference(1), lambda take: False)
            assert asking.num_moved == 0
            return asking.takes

    takes = asyncio.run(scenario())
    good, failed, refused, unheard = takes
    assert (unheard.error, unheard.sha256) == (None, "")
    assert (good.error, good.generation, good.progress) == (None, f"{1:032x}"[:16], [0.0, 0.5, 1.0])
    assert good.size_bytes > 2000
    assert "JobFailed: its events ended with" in (failed.error or "")
    assert "JobFailed: POST /v1/generations answers 503" in (refused.error or "")
    assert all(take.ended_s is not None for take in takes)


def test_once_more_comes_after_as_much_other_sound_as_the_service_holds(tmp_path: Path) -> None:
    (tmp_path / "log").touch()

    async def scenario() -> tuple[list[Take], list[Take]]:
        async with client(tmp_path / "log") as asking:
            await asking.make(reference(1), lambda take: True)
            return await asking.once_more([reference(1)]), asking.takes

    [again], [first, *others, last] = asyncio.run(scenario())
    assert last is again
    assert again.sha256 == first.sha256 != ""
    numbers = [each.reference.number for each in others]
    assert 1 not in numbers
    assert len(set(numbers)) == len(numbers)
    held_bytes = sum(each.reference.duration_ms * 32 * 4 for each in others)
    assert held_bytes >= WindowCache()._max_bytes
