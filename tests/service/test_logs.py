"""The log of a running service in JSON: one object a line, whatever is sent, with the ids that lead from one to all."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from httpx import URL

from tests.service.conftest import APP, RunningService
from tests.service.support.job_client import submit, wait_until_ended

FORGED = '{"event": "request", "levelname": "INFO", "forged": true}'
PATIENCE_S = 20.0
# The server in front refuses some; a request with another is known by an id of the service's own, and refused for its
# prompt.
UNFIT = {
    "a\x1b[2Jb": 400,
    f"a\r{FORGED}": 400,
    f"a\r\n {FORGED}": 400,
    f"a\n{FORGED}": 400,
    "a\x00b": 400,
    "a\u2028b": 422,
    "a\u202eb": 422,
    "a" * 200: 422,
}


def post(service: RunningService, request_id: str, prompt: str) -> http.client.HTTPResponse:
    """As no client's library would send it."""
    url = URL(service.url)
    body = json.dumps({"prompt": prompt, "music_length_ms": 500, "seed": 5}).encode()
    head = (
        f"POST /v1/music HTTP/1.1\r\nHost: {url.host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nX-Request-Id: {request_id}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port or 80), timeout=60) as connection:
        connection.sendall(head.encode("utf-8") + body)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        answer.read()
        return answer


def lines() -> list[dict[str, Any]]:
    """Of all processes of Serve, as far as they are written to their end."""
    found = []
    for file in sorted(folder().glob("*.log")):
        with file.open(encoding="utf-8", newline="") as opened:
            text = opened.read()
        whole = text[: text.rfind("\n") + 1]
        assert len(whole.splitlines()) == whole.count("\n"), f"{file}: something else ends a line"
        for line in whole.splitlines():
            fields = json.loads(line)
            assert isinstance(fields, dict), line
            found.append(fields)
    return found


def folder() -> Path:
    return Path(ray._private.worker._global_node.get_logs_dir_path()) / "serve"


def line_of(is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The one; an answer may be there before its line is."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := [line for line in lines() if is_it(line)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    (line,) = found
    return line


def request_line(request_id: str) -> dict[str, Any]:
    return line_of(lambda line: line.get("event") == "request" and line["request_id"] == request_id)


def test_the_line_of_a_request_has_its_id_and_that_of_what_was_made(service: RunningService) -> None:
    prompt = f"logs\r\n{FORGED}"
    answer = post(service, "night-shift.1", prompt)
    assert answer.status == 200
    line = request_line("night-shift.1")
    assert line["generation"] == answer.headers["X-Generation-Id"]
    assert (line["route"], line["status"], line["model"]) == ("/v1/music", 200, "tiny")
    assert (line["levelname"], line["application"], line["deployment"]) == ("INFO", APP, f"{APP}_ingress")
    assert "forged" not in json.dumps(lines())


@pytest.mark.parametrize(("request_id", "status"), UNFIT.items(), ids=ascii)
def test_no_id_and_no_prompt_breaks_a_line_or_is_in_one(service: RunningService, request_id: str, status: int) -> None:
    answer = post(service, request_id, f"logs\x1b[2J\r\n{FORGED}")
    assert answer.status == status
    if status == 422:
        line = request_line(answer.headers["X-Request-Id"])
        assert (line["status"], line["generation"]) == (422, None)
    assert request_id not in [line.get("request_id") for line in lines()]
    assert "forged" not in json.dumps(lines())


def test_a_job_s_lines_lead_from_its_submission_to_its_music(service: RunningService) -> None:
    async def scenario() -> tuple[str, dict[str, Any]]:
        async with service.client() as client:
            job_id = await submit(client, "logs", prompt="logs of a job", music_length_ms=500, seed=6)
            return job_id, await wait_until_ended(client, job_id)

    job_id, job = asyncio.run(scenario())
    submitted = line_of(lambda line: line.get("event") == "request" and line["status"] == 202 and about(line) == job_id)
    begun = line_of(lambda line: line.get("event") == "job_begun" and line["job"] == job_id)
    made = line_of(lambda line: line.get("event") == "job_made" and line["job"] == job_id)
    assert begun["request_id"] == submitted["request_id"]
    assert made["generation"] == job["variations"][0]["music_id"]
    assert (made["variation"], begun["attempt"], begun["frame"], begun["num_frames"]) == (0, 1, 0, 25)


def about(line: dict[str, Any]) -> object:
    return line["generation"]
