"""Waiting for work on behalf of a client that may hang up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from serve_app.api.errors import ClientClosedRequest, DeadlineExceeded, Internal

T = TypeVar("T")

_AGAIN_S = 1.0


async def while_connected(work: Coroutine[Any, Any, T], receive: Receive, deadline_s: float) -> T:
    """The work's result. The work is cancelled, and its end awaited, as soon as nobody wants it any more.

    receive: the request's ASGI channel, its body read to the end, so that a disconnect is all that can still come.
    Raises ClientClosedRequest when the client hangs up, DeadlineExceeded after `deadline_s`, Internal if the work was
    cancelled from elsewhere, and whatever the work raises. Cancelling the caller cancels the work too.
    """
    # Serve cancels the handler when the client goes; a plain ASGI server only says so on `receive`.
    working = asyncio.create_task(work)
    hanging_up = asyncio.create_task(_disconnect(receive))
    try:
        await asyncio.wait({working, hanging_up}, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            if working.cancelled():
                raise Internal("The generation was stopped: try again.")
            return working.result()
        if hanging_up.done():
            hanging_up.result()
            raise ClientClosedRequest("The client hung up.")
        raise DeadlineExceeded(f"The clip was not made within {deadline_s:g} s: ask for a shorter one, or later.")
    finally:
        await _ended({working, hanging_up})


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancels them until they have ended: Python 3.11's `asyncio.wait_for` may swallow a cancellation."""
    left = tasks
    while left:
        for task in left:
            task.cancel()
        left = (await asyncio.wait(left, timeout=_AGAIN_S))[1]
    await asyncio.gather(*tasks, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
