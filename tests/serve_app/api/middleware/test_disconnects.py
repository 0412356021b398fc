from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ray.exceptions import RayError, TaskCancelledError
from starlette.types import Message, Receive, Scope, Send

from serve_app.api.middleware.observability import RequestMetrics
from serve_app.api.middleware.disconnects import Disconnects, while_connected
from serve_app.errors import ClientClosedRequest
from serve_app.telemetry.service_metrics import REQUESTS
from tests.deployments.telemetry.recorded import Recorded


def received(error: Exception) -> tuple[list[Message], Recorded]:
    """What an application that waits for its client is told when `receive` raises, and how it is counted."""
    seen: list[Message] = []
    counted = Recorded()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

        async def observed() -> Message:
            seen.append(await receive())
            return seen[-1]

        with pytest.raises(ClientClosedRequest):
            await while_connected(asyncio.Event().wait(), observed, deadline_s=10)

    async def receive() -> Message:
        raise error

    async def send(_: Message) -> None:
        pass

    app = Disconnects(RequestMetrics(application, counted), gone=RayError)
    asyncio.run(app({"type": "http", "state": {}}, receive, send))
    return seen, counted


def test_a_call_to_the_proxy_that_was_cancelled_is_a_client_that_left() -> None:
    seen, counted = received(TaskCancelledError())
    assert seen == [{"type": "http.disconnect"}]
    assert [outcome for *_, outcome in counted.total(REQUESTS)] == ["left"]


def test_what_means_something_else_is_raised() -> None:
    with pytest.raises(KeyError):
        received(KeyError("no such client"))


def test_other_traffic_passes() -> None:
    async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        raise RayError

    async def nothing(*_: object) -> Any: ...

    with pytest.raises(RayError):
        asyncio.run(Disconnects(lifespan, gone=RayError)({"type": "lifespan"}, nothing, nothing))
