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
from serve_app.api.middleware.authentication import Authentication
from serve_app.api.middleware.body_limit import BodyLimit
from serve_app.api.middleware.observability import METHODS, ErrorBoundary, RequestId, RequestMetrics
from serve_app.api.routes import openapi
from serve_app.api.routes.generations import build_generation_router
from serve_app.api.routes.music import build_music_router
from serve_app.api.routes.operations import MetricsToken, build_metrics_router, build_operations_router
from serve_app.auth.gate import Gate
from serve_app.errors import MethodNotAllowed, NotFound, ServiceError, error_response
from serve_app.proxy.body_passing import ReadBodyFromScope
from serve_app.settings.application import HttpSettings, JobsSettings
from serve_app.telemetry.metrics_page import MetricsPage

_DEFAULT_JOBS = JobsSettings()


def create_app(
    backend: Backend,
    settings: HttpSettings,
    *,
    behind_serve: bool = False,
    jobs: JobsBackend | None = None,
    jobs_settings: JobsSettings = _DEFAULT_JOBS,
    gate: Gate | None = None,
    lifespan: Lifespan[FastAPI] | None = None,
    recorder: Recorder = NOT_RECORDED,
    metrics: MetricsPage | None = None,
    metrics_token: MetricsToken | None = None,
) -> FastAPI:
    """The service over a backend. It has no state of its own, and calls nothing before a request.

    Args:
        behind_serve: Serve's proxy stands in front, which answers `X-Request-Id` itself.
        jobs: without, there are no routes of jobs.
        gate: without, everybody may do everything.
        lifespan: what runs beside the requests, from before the first to after the last.
        recorder: of the requests' outcomes.
        metrics: what /metrics shows; without, there is no such route.
        metrics_token: see `build_metrics_router`.
    """
    app = FastAPI(
        title="musicgen-serve",
        version="1",
        summary="Text goes in, music comes out.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
        middleware=[
            Middleware(RequestId, server_answers_it=behind_serve),
            Middleware(RequestMetrics, recorder=recorder),
            Middleware(ErrorBoundary),
            *([] if gate is None else [Middleware(Authentication, gate=gate)]),
            Middleware(BodyLimit, max_body_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s),
            *([Middleware(ReadBodyFromScope)] if behind_serve else []),
        ],
        exception_handlers={ServiceError: _on_service_error, HTTPException: _on_http_exception},
    )
    app.include_router(build_operations_router(backend))
    app.include_router(build_music_router(backend, settings, recorder))
    needs_keys = gate is not None and gate.settings.keys == "required"
    if metrics is not None:
        app.include_router(build_metrics_router(metrics, metrics_token, needs_keys=needs_keys))
    if jobs is not None:
        app.include_router(build_generation_router(backend, jobs, settings, jobs_settings))

    def describe() -> dict[str, Any]:
        max_variations = None if jobs is None else jobs_settings.max_variations
        return openapi.describe(app, backend, max_variations, needs_keys=needs_keys)

    app.openapi = describe  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    request.state.error_type = error.type
    return error_response(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """The router's own two errors; nothing else raises Starlette's exception."""
    assert isinstance(error, HTTPException)
    if error.status_code == NotFound.status:
        return error_response(NotFound("There is nothing at this path: /docs lists what there is."))
    if error.status_code == MethodNotAllowed.status:
        allow = _methods_of(request)
        return error_response(MethodNotAllowed(f"This path takes {', '.join(allow)}.", allow=allow))
    raise error


def _methods_of(request: Request) -> list[str]:
    """All methods of the path: the router's own error names only those of one route."""
    routes = request.app.router.routes
    return [
        method
        for method in sorted(METHODS)
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
