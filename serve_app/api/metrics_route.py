"""GET /metrics: the figures of the whole service, for a Prometheus that does not scrape the Ray cluster itself."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from serve_app.access import binding
from serve_app.api.errors import NotOpen, Unauthorized
from serve_app.metrics.exposition import MEDIA_TYPE
from serve_app.metrics.page import Page
from serve_app.metrics.token import VARIABLE, MetricsToken


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
