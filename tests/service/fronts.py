"""Further fronts of the service: an ingress and a pipeline with a cache of their own, over the models that run already."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from ray import serve

from serve_app import graph
from tests.service.conftest import RunningService

_PARTS = ("text-encoder", "language-model", "codec-decoder")


@dataclass(frozen=True)
class Front:
    """name: of its application. url: without a final slash."""

    name: str
    url: str


@contextlib.contextmanager
def front(service: RunningService, name: str, **settings: Any) -> Iterator[Front]:
    args = {"default_model": "tiny", "models": {"tiny": {"source": "/tiny", "license": "CC0-1.0"}}, **settings}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "_model", lambda name, *_: tuple(service.handle(f"{name}-{part}") for part in _PARTS))
        application = graph.build(args)
    serve.run(application, name=name, route_prefix=f"/{name}")
    try:
        yield Front(name, f"{service.url}/{name}")
    finally:
        serve.delete(name)
