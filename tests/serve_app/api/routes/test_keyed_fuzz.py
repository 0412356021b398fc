"""Schemathesis with an API key, and without one, on a service that asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import settings

from serve_app.api.app import create_app
from serve_app.auth.gate import AuthFailures, Gate
from serve_app.settings.application import AuthSettings, HttpSettings
from tests.serve_app.api.jobs_reference import DecodingBackend, ReferenceJobs
from tests.serve_app.auth.stores import HeldKeys, HeldLines
from tests.serve_app.cli.service import on_a_socket

KEYS = HeldKeys()
KEY = KEYS.make().text


def app() -> FastAPI:
    """One whose jobs stay queued."""
    gate = Gate(AuthSettings(keys="required"), KEYS, HeldLines(), timeout_s=2)
    gate.failures = AuthFailures(per_minute=1_000_000)  # that too many are 429 is told apart from this

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        gate.start()
        yield
        await gate.close()

    backend = DecodingBackend()
    backend.cards = backend.cards[:1]
    return create_app(backend, HttpSettings(), jobs=ReferenceJobs(max_queued=10_000), gate=gate, lifespan=lifespan)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with on_a_socket(app(), lifespan="on") as url:
        yield url


schema = (
    schemathesis.openapi.from_dict(app().openapi())
    .include(path_regex="^/v1/")
    .exclude(path_regex="/events$")  # of a job that stays queued they never end
)


@schema.parametrize()
@settings(max_examples=25, deadline=None, derandomize=True)
def test_with_a_key_the_service_does_what_its_document_says_and_without_nothing(
    case: schemathesis.Case[Any], address: str
) -> None:
    case.call_and_validate(base_url=address, headers={"Authorization": f"Bearer {KEY}"})
    assert case.call(base_url=address, headers={"Authorization": "Bearer mgs_wrong"}).status_code == 401
