"""More frontends of the service: an ingress and a pipeline with a cache of their own, in front of the same models."""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray import serve
from ray.serve.schema import LoggingConfig

from serve_app import graph
from serve_app.pipeline.deployment import ModelHandles
from serve_app.settings import replicas as names
from tests.service.conftest import REQUEST_TIMEOUT_S, RunningService

# How long to wait for a condition, on a busy machine.
WAIT_TIMEOUT_S = 120.0

_TOLD = re.compile(r"^WARNING .* store: ([a-z ]+): (.*) \((\d+) since last told\)$")


@dataclass(frozen=True)
class Frontend:
    """name: of its application. logs: the folder of its replicas' logs. began_s: by `time.monotonic`."""

    name: str
    url: str
    logs: Path
    began_s: float

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=REQUEST_TIMEOUT_S, trust_env=False)

    def log(self) -> str:
        """What its replicas have written, one after the other."""
        return "".join(path.read_text() for path in sorted(self.logs.glob("*.log")))

    def tells(self, *kinds: str) -> None:
        """Returns when these are in the log: a write in the background fails after its request."""
        until = time.monotonic() + WAIT_TIMEOUT_S
        while missing := set(kinds) - self.told():
            assert time.monotonic() < until, f"not in the log: {missing}"
            time.sleep(0.1)

    def told(self) -> set[str]:
        """The kinds of a store's faults that are in the log; each there once a minute at most, of each replica."""
        minutes = (time.monotonic() - self.began_s) // 60
        kinds = set()
        for path in self.logs.glob("*.log"):
            lines = filter(None, map(_TOLD.match, path.read_text().splitlines()))
            for kind, times in Counter(line[1] for line in lines).items():
                assert times <= 1 + minutes, f"{path.name}: {kind}, told {times} times"
                kinds.add(kind)
        return kinds


class _Borrowed:
    """Takes the place of `graph._Model`: the deployments of another application's model."""

    def __init__(self, service: RunningService, name: str) -> None:
        self._service = service
        self._name = name

    def bound(self) -> ModelHandles:
        encoder, engine, decoder = (
            self._service.handle(name_of(self._name))
            for name_of in (names.text_encoder_name, names.language_model_name, names.codec_decoder_name)
        )
        return ModelHandles(encoder, engine, None, decoder)


@contextlib.contextmanager
def run_frontend(service: RunningService, name: str, logs: Path, **settings: Any) -> Iterator[Frontend]:
    """settings: of the application, all but its models."""
    began_s = time.monotonic()
    args = {"default_model": "tiny", "models": {"tiny": {"source": "/tiny", "license": "CC0-1.0"}}, **settings}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "_Model", lambda model, *_: _Borrowed(service, model))
        application = graph.build(args)
    serve.run(application, name=name, route_prefix=f"/{name}", logging_config=LoggingConfig(logs_dir=str(logs)))
    try:
        yield Frontend(name, f"{service.url}/{name}", logs, began_s)
    finally:
        serve.delete(name)


def compose(
    client: httpx.Client, seed: int, path: str = "/v1/music", length_ms: int = 500, **fields: object
) -> httpx.Response:
    """Requests a clip, which is answered whatever happens to the store."""
    body = {"prompt": "store", "music_length_ms": length_ms, "seed": seed, **fields}
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer


def check_clip(client: httpx.Client, seed: int, clip: bytes, *outcomes: str, cache: str = "use") -> None:
    """The clip comes, whole and the right one. outcomes: what the answer may say of the cache."""
    answer = compose(client, seed, cache=cache)
    assert answer.content == clip
    assert answer.headers["X-Cache"] in outcomes


def wait_until_cached(client: httpx.Client, seed: int, clip: bytes) -> None:
    """Returns when the ingress finds the sound and the pipeline the codes in the store."""
    until = time.monotonic() + WAIT_TIMEOUT_S
    while True:
        answer = compose(client, seed)
        assert answer.content == clip
        if answer.headers["X-Cache"] == "hit" and "compose" not in answer.headers["Server-Timing"]:
            break
        assert time.monotonic() < until, "sound is not cached, or not found"
        time.sleep(0.1)
    # Sound of another length is not cached, and has to be cut from the codes.
    for length_ms in itertools.count(499, -1):
        if compose(client, seed, length_ms=length_ms).headers["X-Cache"] == "cut":
            break
        assert time.monotonic() < until, "codes are not cached, or not found"
        time.sleep(0.1)
