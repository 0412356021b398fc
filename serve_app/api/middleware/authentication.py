"""Authentication: finds out whose request it is, with or without API keys, for all paths below /v1; audits each one."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.middleware.observability import method_of, route_of
from serve_app.auth.gate import Gate
from serve_app.auth.keys import address_of, presented_key, without_credentials
from serve_app.errors import (
    ClientClosedRequest,
    Internal,
    NotOpen,
    OverLimit,
    ServiceError,
    Unauthorized,
    error_response,
)
from serve_app.identity import ApiKey, AuditRecord, Caller


@dataclass
class _Outcome:
    """What is known of the answer by now.

    Attributes:
        started: the status that was sent; that of a hang-up until then.
        is_whole: all of it was sent.
        has_failed: the service failed, before it or in the middle of it.
    """

    started: int = ClientClosedRequest.status
    is_whole: bool = False
    has_failed: bool = False

    @property
    def status(self) -> int:
        """The status for the audit: an answer that broke off counts as none."""
        if self.has_failed:
            return Internal.status
        return self.started if self.is_whole else ClientClosedRequest.status


class Authentication:
    """ASGI middleware inside ErrorBoundary. Paths other than /v1 and those below it pass unchanged.

    It takes the key out of the request, and sets in `request.state`:
        caller: a Caller.
        until_answered: an AsyncExitStack that is closed when the answer is over, cancelled or failed.
        extra_headers: a dict that is added to the answer's headers.
        admit, allow_prompt: see `serve_app.api.requests.permit`.
        wrong_key: only where the request was refused for its key. Such requests are counted, not logged one by one.

    When the answer is over, the audit gets one record of it, with model, audio_s, generation and prompt from
    `request.state`, as far as they are set.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, app: ASGIApp, gate: Gate, *, clock: Callable[[], float] = time.time) -> None:
        self.app = app
        self._gate = gate
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _needs_caller(scope):
            await self.app(scope, receive, send)
            return
        began_s, ticks_s = self._clock(), time.perf_counter()
        state, outcome, key = scope["state"], _Outcome(), None
        state["extra_headers"] = {}

        async def send_observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                outcome.started = message["status"]
                MutableHeaders(scope=message).update(state["extra_headers"])
            await send(message)
            outcome.is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            async with AsyncExitStack() as state["until_answered"]:
                try:
                    key = await self._key(scope)
                except ServiceError as error:
                    state["error_type"] = error.type
                    await error_response(error)(scope, receive, send_observed)
                    return
                caller = state["caller"] = self._caller(key)
                state["admit"] = partial(self._gate.admission.admit, Request(scope))
                if self._gate.policy is not None:
                    state["allow_prompt"] = partial(self._gate.policy.check, tenant=caller.tenant)
                await self.app(scope, receive, send_observed)
        except Exception:
            outcome.has_failed = True
            raise
        finally:
            seconds = time.perf_counter() - ticks_s
            self._gate.audit.put(_record(scope, key, began_s, seconds, outcome.status))

    async def _key(self, scope: Scope) -> ApiKey | None:
        """The valid API key that the request presents; None where the service has no keys. Raises: ServiceError."""
        shown = presented_key(scope["headers"])
        # In place: the router sets `route` in this very scope.
        scope["headers"] = without_credentials(scope["headers"])
        if self._gate.api_keys is None:
            _check_is_local(scope)
            return None
        key = await self._gate.api_keys.find(shown)
        if key is None:
            scope["state"]["wrong_key"] = True
            await self._refuse(scope)
        return key

    async def _refuse(self, scope: Scope) -> None:
        self._gate.faults.count("wrong API key", "a request had no API key, or not a right one")
        wait_s = await self._gate.failures.count((scope.get("client") or ("",))[0])
        if wait_s is not None:
            raise OverLimit(
                "Too many requests without a right API key came from this address: try again later.",
                retry_after_s=wait_s,
            )
        raise Unauthorized(
            "This needs an API key, as `Authorization: Bearer KEY` or `xi-api-key: KEY`; none came, or not a right one."
        )

    def _caller(self, key: ApiKey | None) -> Caller:
        if key is None:
            return Caller()
        return Caller(key.tenant, key.id, "" if self._gate.settings.share_cache else key.tenant)


def _needs_caller(scope: Scope) -> bool:
    """Whether the path, as the routes see it, is /v1 or below it."""
    path, root = scope["path"], scope.get("root_path", "")
    if root and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :]
    return bool(path == "/v1" or path.startswith("/v1/"))


def _check_is_local(scope: Scope) -> None:
    """Raises: NotOpen for a request that reached the server at an address of the network, on a service without keys.

    That address comes from the server's own socket, so a client can't choose it.
    """
    address = address_of(str((scope.get("server") or ("",))[0]))
    if address is not None and not address.is_loopback:
        raise NotOpen("This service has no API keys, and serves its own machine only: ask its operator for keys.")


def _record(scope: Scope, key: ApiKey | None, began_s: float, seconds: float, status: int) -> AuditRecord:
    state = scope["state"]
    caller: Caller | None = state.get("caller")
    return AuditRecord(
        at_s=began_s,
        request_id=state["request_id"],
        tenant="" if caller is None else caller.tenant,
        key_id="" if key is None else key.id,
        key_hash="" if key is None else key.digest.hex(),
        method=method_of(scope),
        route=route_of(scope),
        status=status,
        model=state.get("model"),
        audio_s=state.get("audio_s", 0.0),
        generation=state.get("generation"),
        prompt=state.get("prompt"),
        seconds=seconds,
    )
