from __future__ import annotations

import asyncio
import contextvars

from serve_app.tasks import detached

REQUEST = contextvars.ContextVar("request", default="none")


def test_a_detached_task_knows_nothing_of_the_request_that_began_it() -> None:
    async def name() -> str:
        return REQUEST.get()

    async def scenario() -> None:
        REQUEST.set("a request")
        assert await detached(name()) == "none"
        assert await asyncio.create_task(name()) == "a request"

    asyncio.run(scenario())
