"""The HTTP application, put together."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from serve_app.api import openapi
from serve_app.api.backend import Backend
from serve_app.api.body_limit import BodyLimit
from serve_app.api.boundary import Boundary
from serve_app.api.enclosed_body import TakeEnclosed
from serve_app.api.errors import MethodNotAllowed, NotFound, ServiceError, error_response
from serve_app.api.request_id import RequestId
from serve_app.api.routes import build_router
from serve_app.api.settings import ApiSettings


def create_app(backend: Backend, settings: ApiSettings, *, behind_serve: bool = False) -> FastAPI:
    """The service over a backend. It holds no state beyond the two, and does not call the backend before a request.

    behind_serve: Serve's proxy stands in front, which answers `X-Request-Id` itself.
    """
    app = FastAPI(
        title="musicgen-serve",
        version="1",
        summary="Text goes in, music comes out.",
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        middleware=[
            Middleware(RequestId, server_answers_it=behind_serve),
            Middleware(Boundary),
            Middleware(BodyLimit, max_body_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s),
            *([Middleware(TakeEnclosed)] if behind_serve else []),
        ],
        exception_handlers={ServiceError: _on_service_error, HTTPException: _on_http_exception},
    )
    app.include_router(build_router(backend, settings))

    def describe() -> dict[str, Any]:
        return openapi.describe(app, backend)

    app.openapi = describe  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
    return app


async def _on_service_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return error_response(error)


async def _on_http_exception(_: Request, error: Exception) -> Response:
    """The router's own two errors; nothing else here raises Starlette's exception."""
    assert isinstance(error, HTTPException)
    if error.status_code == NotFound.status:
        return error_response(NotFound("There is nothing at this path: /docs lists what there is."))
    if error.status_code == MethodNotAllowed.status:
        allow = sorted((error.headers or {})["Allow"].split(", "))
        return error_response(MethodNotAllowed(f"This path takes {', '.join(allow)}.", allow=allow))
    raise error
