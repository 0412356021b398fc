"""Jobs of a running service, as a client has them."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.service.support.recording_model import RecordedGeneration, recorded_generations

_AGAIN_S = 0.2


async def request_with_retries(client: httpx.AsyncClient, method: str, path: str, **options: Any) -> httpx.Response:
    """Sends a request, and retries it while the connection or the process behind it is lost or not up yet."""
    deadline = time.monotonic() + 150
    while True:
        try:
            response = await client.request(method, path, **options)
            if response.status_code not in (500, 502, 503):
                return response
            problem = response.text
        except httpx.TransportError as error:
            problem = repr(error)
        assert time.monotonic() < deadline, problem
        await asyncio.sleep(_AGAIN_S)


async def submit(client: httpx.AsyncClient, key: str, **body: Any) -> str:
    """Submits a job and returns its id. key: the idempotency key."""
    response = await request_with_retries(
        client, "POST", "/v1/generations", json=body, headers={"Idempotency-Key": key}
    )
    assert response.status_code in (200, 202), response.text
    return str(response.json()["id"])


async def wait_until_ended(client: httpx.AsyncClient, job_id: str, within_s: float = 200) -> dict[str, Any]:
    """Returns the job at its end."""
    deadline = time.monotonic() + within_s
    while True:
        response = await request_with_retries(client, "GET", f"/v1/generations/{job_id}")
        assert response.status_code == 200, response.text
        job: dict[str, Any] = response.json()
        if job["state"] in ("succeeded", "failed", "cancelled"):
            return job
        assert time.monotonic() < deadline, job
        await asyncio.sleep(_AGAIN_S)


async def fetch_sound(client: httpx.AsyncClient, job_id: str, container: str = "wav", variation: int = 0) -> bytes:
    options = {"output_format": container, "variation": variation}
    response = await request_with_retries(client, "GET", f"/v1/generations/{job_id}/audio", params=options)
    assert response.status_code == 200, response.text
    return response.content


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def recorded_generation_of(frames: Path, job: dict[str, Any]) -> RecordedGeneration:
    """The record of a job's first variation."""
    return recorded_generations(frames)[job["variations"][0]["music_id"][:16]]


def lease_holder(records: Path, job_id: str) -> psutil.Process | None:
    """The process that holds the lease of a job's first variation; None if none does."""
    with sqlite3.connect(records, timeout=10) as connection:
        row = connection.execute("SELECT holder FROM leases WHERE name = ?", (f"job/{job_id}/0",)).fetchone()
    connection.close()
    return None if row is None or not row[0] else psutil.Process(int(row[0].split("/")[1]))


def is_writable(records: Path) -> bool:
    """Whether nobody holds SQLite's lock for longer than a write takes."""
    connection = sqlite3.connect(records, timeout=2, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True
