"""Who asks: at the door of everything under /v1, with or without API keys."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.middleware.boundary import METHODS
from serve_app.auth import keys as binding
from serve_app.auth import keys as credentials
from serve_app.auth.gate import Gate
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
    """What is known of the answer by now. begun: its status. is_whole: all of it was sent. has_failed: the service
    has, before or in the middle of it.
    """

    begun: int = ClientClosedRequest.status
    is_whole: bool = False
    has_failed: bool = False

    @property
    def status(self) -> int:
        """What became of it: an answer that broke off is none."""
        if self.has_failed:
            return Internal.status
        return self.begun if self.is_whole else ClientClosedRequest.status


class Access:
    """ASGI middleware inside Boundary. Other paths than /v1 and what is below it pass as they are.

    To whoever handles the request further it gives, in `request.state`: caller, a Caller; until_answered, an
    AsyncExitStack that is closed when the answer is over, cancelled or failed; extra_headers, a dict that is added to
    the answer's headers; admit and allow_prompt, as `permission` has them. The key itself it takes out of the request.

    When the answer is over the audit has one record of it, with what is then in `request.state`: model, audio_s,
    generation and prompt, as far as they are set. Where `request.state.turned_away` is set the request was refused for
    its key, is counted, and deserves no line of its own in the log.

    clock: seconds since 1970.
    """

    def __init__(self, app: ASGIApp, gate: Gate, *, clock: Callable[[], float] = time.time) -> None:
        self.app = app
        self._gate = gate
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _asks_who(scope):
            await self.app(scope, receive, send)
            return
        began_s, ticks_s = self._clock(), time.perf_counter()
        state, outcome, key = scope["state"], _Outcome(), None
        state["extra_headers"] = {}

        async def send_observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                outcome.begun = message["status"]
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
        """The right API key that the request shows, None where none is asked for. Raises: ServiceError."""
        shown = credentials.presented(scope["headers"])
        # In place: the routes note in this very scope what they are.
        scope["headers"] = credentials.without(scope["headers"])
        if self._gate.keyring is None:
            _check_is_local(scope)
            return None
        key = await self._gate.keyring.find(shown)
        if key is None:
            scope["state"]["turned_away"] = True
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


def _asks_who(scope: Scope) -> bool:
    """Whether the path, as the routes see it, is /v1 or below."""
    path, root = scope["path"], scope.get("root_path", "")
    if root and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :]
    return bool(path == "/v1" or path.startswith("/v1/"))


def _check_is_local(scope: Scope) -> None:
    """Raises: NotOpen for a request that reached the server by an address of the network, where no keys are asked for.

    The server says which of its addresses that was; it is no name, and nothing that the client can choose.
    """
    address = binding.address_of(str((scope.get("server") or ("",))[0]))
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
        method=scope["method"] if scope["method"] in METHODS else "other",
        route=getattr(scope.get("route"), "path", "none"),
        status=status,
        model=state.get("model"),
        audio_s=state.get("audio_s", 0.0),
        generation=state.get("generation"),
        prompt=state.get("prompt"),
        seconds=seconds,
    )
