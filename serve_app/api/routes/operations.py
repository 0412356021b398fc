"""The routes beside the music: health and readiness, metrics, and the documentation page.

/metrics shows the figures of the whole service, for a Prometheus that does not scrape the Ray cluster itself. They are
for the operator, not for tenants. /docs is Swagger UI; its files come from the package `fastapi-offline` and are served
from here, so that the page needs no other host.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request
from pydantic import SecretStr
from starlette.responses import FileResponse, HTMLResponse, Response

from serve_app.api.backends import Backend
from serve_app.api.routes import openapi
from serve_app.api.schemas.music import HealthAnswer, IndexAnswer, ReadyAnswer
from serve_app.auth.keys import address_of
from serve_app.errors import NotFound, NotOpen, NotReady, Unauthorized
from serve_app.telemetry.metrics_page import MEDIA_TYPE, MetricsPage

METRICS_TOKEN_VARIABLE = "MUSICGEN_METRICS_TOKEN"  # noqa: S105 (a name)
MIN_TOKEN_CHARS = 16
_BEARER = b"bearer "


class WeakToken(ValueError):
    """The token in the environment is too short, or can't stand in a header."""


class MetricsToken:
    """The secret that a reader presents, as `Authorization: Bearer TOKEN`."""

    def __init__(self, secret: SecretStr) -> None:
        """Raises: WeakToken, without the token in its message."""
        text = secret.get_secret_value()
        if len(text) < MIN_TOKEN_CHARS or not text.isascii() or not text.isprintable() or " " in text:
            raise WeakToken(
                f"{METRICS_TOKEN_VARIABLE} has to be {MIN_TOKEN_CHARS} or more printable ASCII characters without a "
                "space, as `openssl rand -hex 32` makes them"
            )
        self._secret = text.encode("ascii")

    def is_presented(self, authorization: bytes) -> bool:
        """Whether the header's value, empty where there is none, is the token. Takes equally long for any wrong one."""
        scheme, presented = authorization[: len(_BEARER)], authorization[len(_BEARER) :]
        return hmac.compare_digest(presented, self._secret) and scheme.lower() == _BEARER


def metrics_token(environment: Mapping[str, str]) -> MetricsToken | None:
    """The token in an environment; None where there is none. Raises: WeakToken."""
    text = environment.get(METRICS_TOKEN_VARIABLE)
    return None if text is None else MetricsToken(SecretStr(text))


# Addresses are relative, so that the page works under any root path.
_DOCS_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>musicgen-serve</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
# A file of its own: the page's policy allows no inline script. validatorUrl: else Swagger UI would call another host.
_START_SCRIPT = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
"""
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SWAGGER_FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}


def build_operations_router(backend: Backend) -> APIRouter:
    """The routes that everybody may read."""
    router = APIRouter(redirect_slashes=False)
    swagger_folder = Path(str(files("fastapi_offline"))) / "static"

    @router.get("/health")
    async def health() -> HealthAnswer:
        """Whether the process is alive. It asks nothing of the models: see /ready."""
        return HealthAnswer()

    @router.get("/ready", responses=openapi.READY_RESPONSES)
    async def ready() -> ReadyAnswer:
        """Whether every deployment is up, and music can be made."""
        deployments = dict(await backend.ready())
        down = sorted(name for name, up in deployments.items() if not up)
        if down:
            raise NotReady(f"Not up: {', '.join(down)}.")
        return ReadyAnswer(deployments=deployments)

    @router.get("/")
    async def index() -> IndexAnswer:
        """Where to go from here."""
        return IndexAnswer(documentation="/docs", openapi="/openapi.json", models="/v1/models")

    @router.api_route("/docs", methods=["GET", "HEAD"], include_in_schema=False)
    async def docs() -> Response:
        """The documentation, to read and to try."""
        return HTMLResponse(_DOCS_PAGE, headers={"Content-Security-Policy": _DOCS_POLICY})

    @router.api_route("/docs/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    async def docs_file(name: str) -> Response:
        """A file that the documentation page names."""
        if name == "start.js":
            return Response(_START_SCRIPT, media_type="text/javascript")
        if name not in _SWAGGER_FILES:
            raise NotFound("There is nothing at this path: /docs lists what there is.")
        return FileResponse(swagger_folder / name, media_type=_SWAGGER_FILES[name])

    return router


def build_metrics_router(page: MetricsPage, token: MetricsToken | None, *, needs_keys: bool) -> APIRouter:
    """The route /metrics, whose figures of all tenants no tenant may read.

    Without a token the page is for this machine only, like a whole service without API keys. A service with API keys
    and without a token shows the page to nobody, since requests through a reverse proxy on this machine seem to come
    from this machine.

    Args:
        token: that the reader presents.
        needs_keys: the service requires API keys.
    """
    router = APIRouter(redirect_slashes=False)

    @router.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Response:
        """All metrics of the catalogue, of all nodes, in Prometheus' text format."""
        _check_metrics_reader(request, token, needs_keys)
        return Response(await page.text(), headers={"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store"})

    return router


def _check_metrics_reader(request: Request, token: MetricsToken | None, needs_keys: bool) -> None:
    """Raises: Unauthorized; NotOpen."""
    if token is not None:
        if not token.is_presented(_authorization(request)):
            raise Unauthorized("This needs the token for metrics, as `Authorization: Bearer TOKEN`.")
    elif needs_keys:
        raise NotOpen(
            f"There is no token for metrics: the operator sets one in the environment, as {METRICS_TOKEN_VARIABLE}."
        )
    else:
        address = address_of(str((request.scope.get("server") or ("",))[0]))
        if address is not None and not address.is_loopback:
            raise NotOpen(
                f"Without a token, which the operator sets as {METRICS_TOKEN_VARIABLE}, metrics are for this machine "
                "only."
            )


def _authorization(request: Request) -> bytes:
    """The header's value; empty where there is none, or more than one."""
    values = [value for name, value in request.scope["headers"] if name == b"authorization"]
    return values[0] if len(values) == 1 else b""
