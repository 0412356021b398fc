"""What is asked before anything is made: the licence, the words, the caller's share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.errors import OverLimit, PromptRefused
from serve_app.identity import Caller
from tests.serve_app.api.jobs_reference import BODY, DecodingBackend, ReferenceJobs, job_service
from tests.serve_app.api.service import CARDS, call, fault

PATH = "/v1/generations"


class Door:
    """Does what the middleware at the door does: leaves in the request's state who asks, and what there is to ask."""

    def __init__(self, app: ASGIApp, **state: Any) -> None:
        self.app = app
        self.state = state
        self.seen: dict[str, Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await self.app(scope, receive, send)

        await app({**scope, "state": dict(self.state)}, receive, send)


def with_unaccepted_licence() -> DecodingBackend:
    backend = DecodingBackend()
    backend.cards = (replace(CARDS[0], accepted=False, license="CC-BY-NC-4.0"), CARDS[1])
    return backend


@pytest.mark.parametrize("path", [PATH, "/v1/music", "/v1/music/stream"])
def test_a_licence_that_is_not_accepted_is_named_and_nothing_is_made(path: str) -> None:
    jobs, backend = ReferenceJobs(), with_unaccepted_licence()
    response = call(job_service(jobs, backend), "POST", path, json=BODY)
    assert (response.status_code, fault(response)["type"]) == (403, "license_not_accepted")
    assert "CC-BY-NC-4.0" in fault(response)["message"]
    assert not jobs.calls
    assert not backend.requests


class Asked:
    """What was asked at the door, in order; answers with an error if there is one."""

    def __init__(self, refusal: Exception | None = None, charge: Exception | None = None) -> None:
        self.refusal = refusal
        self.charge = charge
        self.questions: list[object] = []

    async def allow_prompt(self, prompt: str) -> None:
        self.questions.append(prompt)
        if self.refusal is not None:
            raise self.refusal

    async def admit(self, audio_s: float) -> None:
        self.questions.append(audio_s)
        if self.charge is not None:
            raise self.charge


def asked_at_the_door(
    asked: Asked, path: str, jobs: ReferenceJobs, key: str | None = None, **body: object
) -> tuple[httpx.Response, dict[str, Any]]:
    """The answer, and what the request's state says for the audit. key: for idempotency."""
    states: list[dict[str, Any]] = []

    class Keep:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            states.append(scope["state"])
            await self.app(scope, receive, send)

    app = job_service(jobs)
    app.user_middleware.append(Middleware(Keep))  # the innermost
    caller = Caller("acme", "k1", "acme's")
    door = Door(app, caller=caller, allow_prompt=asked.allow_prompt, admit=asked.admit)
    response = asyncio.run(ask_at(door, path, {**BODY, **body}, {} if key is None else {"Idempotency-Key": key}))
    return response, states[0]


async def ask_at(door: ASGIApp, path: str, body: dict[str, object], headers: Mapping[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://service") as client:
        return await client.post(path, json=body, headers=headers)


@pytest.mark.parametrize(("path", "body", "audio_s"), [(PATH, {"variations": 3}, 0.3), ("/v1/music", {}, 0.1)])
def test_the_words_are_judged_and_the_music_charged_before_it_is_made(
    path: str, body: dict[str, object], audio_s: float
) -> None:
    asked, jobs = Asked(), ReferenceJobs()
    response, state = asked_at_the_door(asked, path, jobs, **body)
    assert response.is_success
    assert asked.questions == ["a tone", pytest.approx(audio_s)]
    assert state["prompt"] == "a tone"
    assert state["model"] == "etude"
    assert state["audio_s"] == pytest.approx(audio_s)
    if path == PATH:
        assert state["generation"] == response.json()["id"]
        assert (jobs.submissions[0].tenant, jobs.submissions[0].key_id) == ("acme", "k1")
        assert jobs.submissions[0].request.scope == "acme's"
    else:
        assert state["generation"] == response.headers["x-generation-id"]


def test_a_stream_is_told_to_the_audit_too() -> None:
    response, state = asked_at_the_door(Asked(), "/v1/music/stream", ReferenceJobs())
    assert state["generation"] == response.headers["x-generation-id"]


@pytest.mark.parametrize("path", [PATH, "/v1/music", "/v1/music/stream"])
def test_what_is_refused_at_the_door_is_not_charged_nor_made(path: str) -> None:
    asked, jobs = Asked(refusal=PromptRefused("No.")), ReferenceJobs()
    response, state = asked_at_the_door(asked, path, jobs)
    assert (response.status_code, fault(response)["type"]) == (403, "prompt_refused")
    assert asked.questions == ["a tone"]
    assert "audio_s" not in state
    asked = Asked(charge=OverLimit("Later.", retry_after_s=7))
    response, state = asked_at_the_door(asked, path, jobs)
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert "audio_s" not in state
    assert not jobs.calls


def test_what_is_sent_again_is_not_charged_again() -> None:
    asked, jobs = Asked(), ReferenceJobs()
    first, _ = asked_at_the_door(asked, PATH, jobs, key="once")
    again, _ = asked_at_the_door(asked, PATH, jobs, key="once")
    assert (first.status_code, again.status_code) == (202, 200)
    assert asked.questions == ["a tone", pytest.approx(0.1)]


def test_nothing_is_asked_at_the_door_of_a_body_that_is_refused() -> None:
    asked = Asked()
    assert asked_at_the_door(asked, PATH, ReferenceJobs(), variations=0)[0].status_code == 422
    assert asked.questions == []
