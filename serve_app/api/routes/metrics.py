"""Who may read the figures of the whole service: its operator, and no tenant.

GET /metrics: the figures of the whole service, for a Prometheus that does not scrape the Ray cluster itself.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from fastapi import APIRouter, Request
from pydantic import SecretStr
from starlette.responses import Response

from serve_app.auth import keys as binding
from serve_app.errors import NotOpen, Unauthorized
from serve_app.telemetry.metrics_page import MEDIA_TYPE, Page

VARIABLE = "MUSICGEN_METRICS_TOKEN"
MIN_CHARS = 16
_BEARER = b"bearer "


class WeakToken(ValueError):
    """The environment's token can't be one."""


class MetricsToken:
    """The secret that a reader shows, as `Authorization: Bearer TOKEN`."""

    def __init__(self, secret: SecretStr) -> None:
        """Raises: WeakToken for one that is short, or that a header can't carry; it is not repeated."""
        text = secret.get_secret_value()
        if len(text) < MIN_CHARS or not text.isascii() or not text.isprintable() or " " in text:
            raise WeakToken(
                f"{VARIABLE} has to be {MIN_CHARS} or more printable ASCII characters without a space, as "
                "`openssl rand -hex 32` makes them"
            )
        self._secret = text.encode("ascii")

    def is_shown(self, authorization: bytes) -> bool:
        """authorization: that header's value, empty where there is none. Takes as long for any wrong token."""
        scheme, shown = authorization[: len(_BEARER)], authorization[len(_BEARER) :]
        return hmac.compare_digest(shown, self._secret) and scheme.lower() == _BEARER


def token_of(environment: Mapping[str, str]) -> MetricsToken | None:
    """That of an environment; None where it has none. Raises: WeakToken."""
    text = environment.get(VARIABLE)
    return None if text is None else MetricsToken(SecretStr(text))


def build_metrics_router(page: Page, token: MetricsToken | None, *, asks_for_keys: bool) -> APIRouter:
    """What all tenants do together is none of theirs to know. token: that a reader shows.

    Without one the page is for this machine, as the whole service is where it asks for no API keys; where it asks for
    them, nobody reads the page: what comes by a proxy on this machine seems to come from this machine.
    """
    router = APIRouter(redirect_slashes=False)

    @router.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Response:
        """All metrics of the list, of all nodes, in Prometheus' text format."""
        _check(request, token, asks_for_keys)
        return Response(await page.text(), headers={"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store"})

    return router


def _check(request: Request, token: MetricsToken | None, asks_for_keys: bool) -> None:
    """Raises: Unauthorized; NotOpen."""
    if token is not None:
        if not token.is_shown(_authorization(request)):
            raise Unauthorized("This needs the token for metrics, as `Authorization: Bearer TOKEN`.")
    elif asks_for_keys:
        raise NotOpen(f"There is no token for metrics: the operator sets one in the environment, as {VARIABLE}.")
    else:
        address = binding.address_of(str((request.scope.get("server") or ("",))[0]))
        if address is not None and not address.is_loopback:
            raise NotOpen(f"Without a token, which the operator sets as {VARIABLE}, metrics are for this machine only.")


def _authorization(request: Request) -> bytes:
    """Empty where there is none, or more than one."""
    shown = [value for name, value in request.scope["headers"] if name == b"authorization"]
    return shown[0] if len(shown) == 1 else b""
