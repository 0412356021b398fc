"""The HTTP application, put together."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Lifespan

from deployments.telemetry.metric import NOT_RECORDED, Recorder
from serve_app.api.backends import Backend, JobsBackend
from serve_app.api.middleware.authentication import Access
from serve_app.api.middleware.body_limit import BodyLimit
from serve_app.api.middleware.boundary import METHODS, Boundary, Metered
from serve_app.api.routes import openapi
from serve_app.api.routes.generations import build_generation_router
from serve_app.api.routes.metrics import MetricsToken, build_metrics_router
from serve_app.api.routes.music import build_router
from serve_app.auth.gate import Gate
from serve_app.errors import MethodNotAllowed, NotFound, ServiceError, error_response
from serve_app.proxy.body_passing import TakeEnclosed
from serve_app.proxy.client_headers import RequestId
from serve_app.settings.application import ApiSettings, JobsSettings
from serve_app.telemetry.metrics_page import Page

_DEFAULT_JOBS = JobsSettings()


def create_app(
    backend: Backend,
    settings: ApiSettings,
    *,
    behind_serve: bool = False,
    jobs: JobsBackend | None = None,
    jobs_settings: JobsSettings = _DEFAULT_JOBS,
    gate: Gate | None = None,
    lifespan: Lifespan[FastAPI] | None = None,
    recorder: Recorder = NOT_RECORDED,
    metrics: Page | None = None,
    metrics_token: MetricsToken | None = None,
) -> FastAPI:
    """The service over a backend. It holds no state beyond what it is given, and calls nothing before a request.

    behind_serve: Serve's proxy stands in front, which answers `X-Request-Id` itself. jobs: without, there are no paths
    of jobs. gate: without, everybody may do everything. lifespan: what goes on beside the answers, from before the
    first to after the last. recorder: of what becomes of requests. metrics: what /metrics shows; without, there is no
    such path. metrics_token: see `build_metrics_router`.
    """
    app = FastAPI(
        title="musicgen-serve",
        version="1",
        summary="Text goes in, music comes out.",
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
        middleware=[
            Middleware(RequestId, server_answers_it=behind_serve),
            Middleware(Metered, recorder=recorder),
            Middleware(Boundary),
            *([] if gate is None else [Middleware(Access, gate=gate)]),
            Middleware(BodyLimit, max_body_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s),
            *([Middleware(TakeEnclosed)] if behind_serve else []),
        ],
        exception_handlers={ServiceError: _on_service_error, HTTPException: _on_http_exception},
    )
    app.include_router(build_router(backend, settings, recorder))
    asks_for_keys = gate is not None and gate.settings.keys == "required"
    if metrics is not None:
        app.include_router(build_metrics_router(metrics, metrics_token, asks_for_keys=asks_for_keys))
    if jobs is not None:
        app.include_router(build_generation_router(backend, jobs, settings, jobs_settings))

    def describe() -> dict[str, Any]:
        max_variations = None if jobs is None else jobs_settings.max_variations
        return openapi.describe(app, backend, max_variations, asks_for_keys=asks_for_keys)

    app.openapi = describe  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
    return app


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    request.state.error_type = error.type
    return error_response(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """The router's own two errors; nothing else here raises Starlette's exception."""
    assert isinstance(error, HTTPException)
    if error.status_code == NotFound.status:
        return error_response(NotFound("There is nothing at this path: /docs lists what there is."))
    if error.status_code == MethodNotAllowed.status:
        allow = _methods_of(request)
        return error_response(MethodNotAllowed(f"This path takes {', '.join(allow)}.", allow=allow))
    raise error


def _methods_of(request: Request) -> list[str]:
    """All that the path takes: the router's own error knows but those of one route."""
    routes = request.app.router.routes
    return [
        method
        for method in sorted(METHODS)
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
