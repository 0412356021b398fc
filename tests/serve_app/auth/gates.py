"""A gate over stores in memory, and the middleware over a few routes, talked to within the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI, Request
from pydantic import SecretStr
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse

from serve_app.api.middleware.authentication import Authentication
from serve_app.api.middleware.observability import ErrorBoundary, RequestId
from serve_app.auth.gate import Gate
from serve_app.errors import ServiceError, error_response
from serve_app.identity import AuditRecord
from serve_app.settings.application import AuditSettings, AuthSettings, LimitsSettings
from tests.serve_app.auth.stores import HeldKeys, HeldLines

# Longer than any machine is busy: where Redis is up, no test is to find it down.
PATIENT_S = 30.0


class House:
    """One ingress replica. opened: what its slow routes wait for."""

    def __init__(self, gate: Gate, keys: HeldKeys, lines: HeldLines) -> None:
        self.gate, self.keys, self.lines = gate, keys, lines
        self.opened = asyncio.Event()
        self.num_inside = 0
        self.app = _app(self)

    async def ask(self, method: str, path: str, key: str = "", **request: Any) -> httpx.Response:
        headers = [*([("xi-api-key", key)] if key else []), *httpx.Headers(request.pop("headers", {})).multi_items()]
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, headers=headers, **request)

    async def music(self, seconds: float, key: str = "") -> httpx.Response:
        return await self.ask("POST", f"/v1/music?seconds={seconds}", key)

    async def audited(self) -> list[AuditRecord]:
        assert await self.gate.audit.flush()
        return self.lines.records


@asynccontextmanager
async def house(
    *, keys: HeldKeys | None = None, limits: dict[str, Any] | None = None, redis_url: str = "memory", **settings: Any
) -> AsyncIterator[House]:
    """One whose gate is open. limits, settings: as in the settings; keys: makes them required."""
    held, lines = keys or HeldKeys(), HeldLines()
    access = AuthSettings(
        keys="none" if keys is None else "required",
        limits=LimitsSettings(storage=SecretStr(redis_url), **(limits or {})),
        audit=AuditSettings(prompts=settings.pop("prompts", "kept")),
        **settings,
    )
    gate = Gate(access, held, lines, timeout_s=2.0, redis_timeout_s=PATIENT_S)
    gate.start()
    try:
        yield House(gate, held, lines)
    finally:
        await gate.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        await test()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(within())


def _app(house: House) -> FastAPI:
    async def answered_as_it_is(_: Request, error: Exception) -> Response:
        assert isinstance(error, ServiceError)
        return error_response(error)

    app = FastAPI(
        middleware=[Middleware(RequestId), Middleware(ErrorBoundary), Middleware(Authentication, gate=house.gate)],
        exception_handlers={ServiceError: answered_as_it_is},
    )

    @app.get("/health")
    async def health() -> str:
        return "well"

    @app.get("/v1/who")
    async def who(request: Request) -> dict[str, str]:
        return {**vars(request.state.caller), "headers": ",".join(request.headers)}

    @app.post("/v1/music")
    async def music(request: Request, seconds: float = 0.0, hold: bool = False, fail: bool = False) -> str:
        await house.gate.admission.admit(request, seconds)
        request.state.model, request.state.prompt = "etude", "canary-words"
        house.num_inside += 1
        try:
            if hold:
                await house.opened.wait()
        finally:
            house.num_inside -= 1
        if fail:
            raise ZeroDivisionError
        return "sound"

    @app.get("/v1/stream/{name}")
    async def stream(request: Request, name: str, broken: bool = False) -> Response:
        await house.gate.admission.admit(request, 0)
        request.state.generation = "g"

        async def pieces() -> AsyncIterator[bytes]:
            yield b"one"
            await house.opened.wait()
            if broken:
                raise ClientDisconnect
            yield b"two"

        return StreamingResponse(pieces())

    return app
