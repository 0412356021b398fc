"""Endpoints behind Serve that have nothing to do: what there is to be had from Ray Serve and FastAPI."""

from typing import Any

from fastapi import FastAPI, Request
from ray import serve
from ray.serve import Application
from starlette.responses import Response

app = FastAPI()


@serve.ingress(app)
class Empty:
    """Answers of any size, made once each: at once, or when the request's body has been read."""

    def __init__(self) -> None:
        self._bodies: dict[int, bytes] = {}

    @app.post("/{size_bytes}")
    async def at_once(self, size_bytes: int) -> Response:
        return self._answer(size_bytes)

    @app.post("/reading/{size_bytes}")
    async def reading(self, size_bytes: int, request: Request) -> Response:
        await request.body()
        return self._answer(size_bytes)

    def _answer(self, size_bytes: int) -> Response:
        return Response(self._bodies.setdefault(size_bytes, bytes(size_bytes)), media_type="audio/wav")


def build(args: dict[str, Any]) -> Application:
    """args: options of the deployment."""
    application: Application = serve.deployment(Empty, name="empty").options(**args).bind()
    return application
