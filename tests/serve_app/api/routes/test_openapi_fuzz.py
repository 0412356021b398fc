"""Schemathesis reads the OpenAPI document and sends what it allows and what it does not; every check it has is on.

JSON Schema can't say three things: that a model has a maximum length of its own (the models here share one), that a
prompt of invisible characters is blank, and that its length is counted after normalising. The last two are too rare for
generated data, and the run is the same each time, so that they stay so.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import settings

from tests.serve_app.api.service import CARDS, SineBackend, service


def service_of_equals() -> FastAPI:
    backend = SineBackend()
    backend.cards = tuple(dataclasses.replace(card, max_duration_ms=30_000) for card in CARDS)
    return service(backend)


schema = schemathesis.openapi.from_asgi("/openapi.json", service_of_equals())


@schema.parametrize()
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_service_does_what_its_document_says(case: schemathesis.Case[Any]) -> None:
    case.call_and_validate()


@pytest.mark.nightly
@schema.parametrize()
@settings(max_examples=500, deadline=None, derandomize=True)
def test_it_does_so_whatever_else_is_tried(case: schemathesis.Case[Any]) -> None:
    case.call_and_validate()
