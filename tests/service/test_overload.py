"""Overload: far more clients at once than the service has places for."""

from __future__ import annotations

import asyncio
from collections import Counter

import httpx
import pytest

from tests.service.conftest import RunningService

NUM_CLIENTS = 300


@pytest.mark.nightly
def test_under_overload_the_admitted_get_their_clips_and_the_others_a_time_to_retry(
    service: RunningService,
) -> None:
    async def one(client: httpx.AsyncClient, number: int) -> httpx.Response:
        body = {"prompt": f"one of many {number}", "music_length_ms": 200, "seed": number}
        return await client.post("/v1/music", json=body)

    async def scenario() -> Counter[int]:
        limits = httpx.Limits(max_connections=NUM_CLIENTS)
        async with httpx.AsyncClient(base_url=service.url, timeout=280, trust_env=False, limits=limits) as client:
            answers = await asyncio.gather(*(one(client, number) for number in range(NUM_CLIENTS)))
            for answer in answers:
                if answer.status_code != 200:
                    assert int(answer.headers["Retry-After"]) > 0
            again = await one(client, NUM_CLIENTS)
            assert again.status_code == 200
        return Counter(answer.status_code for answer in answers)

    statuses = asyncio.run(scenario())
    assert set(statuses) == {200, 429}
    assert statuses[429] > 0
