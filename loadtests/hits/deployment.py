"""An endpoint behind Serve that has nothing to do: what there is to be had from Ray Serve and FastAPI."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from starlette.responses import Response

app = FastAPI()


@serve.ingress(app)
class Empty:
    """Bodies of any size, made once each."""

    def __init__(self) -> None:
        self._bodies: dict[int, bytes] = {}

    @app.post("/{size_bytes}")
    async def answer(self, size_bytes: int) -> Response:
        return Response(self._bodies.setdefault(size_bytes, bytes(size_bytes)), media_type="audio/wav")


def build(args: dict[str, Any]) -> Application:
    """args: options of the deployment."""
    application: Application = serve.deployment(Empty, name="empty").options(**args).bind()
    return application
