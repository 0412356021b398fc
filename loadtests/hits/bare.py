"""A bare uvicorn that answers from memory: the most that this client and this machine can show of any server.

python -m loadtests.hits.bare --port 8001
"""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx
import uvicorn
from starlette.types import Receive, Scope, Send

from loadtests.measuring.running import free_port

_POLL_S = 0.05


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """POST /{size in bytes}."""
    assert scope["type"] == "http", "it is run without a lifespan, and has no WebSockets"
    while (await receive()).get("more_body", False):
        pass
    size = scope["path"].strip("/").encode()
    headers = [(b"content-type", b"audio/wav"), (b"content-length", size)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _body(int(size))})


@functools.cache
def _body(size_bytes: int) -> bytes:
    return bytes(size_bytes)


@contextmanager
def bare_server(environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Its URL, in a process of its own that ends with the block."""
    port = free_port()
    command = [sys.executable, "-m", "loadtests.hits.bare", "--port", str(port)]
    with subprocess.Popen(command, env=environment) as process:  # noqa: S603 - our own module
        try:
            url = f"http://127.0.0.1:{port}"
            with httpx.Client(trust_env=False) as client:
                while not _answers(client, url):
                    if process.poll() is not None:
                        raise RuntimeError(f"the bare server ended by itself with {process.returncode}")
                    time.sleep(_POLL_S)
            yield url
        finally:
            process.terminate()


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.post(f"{url}/1").status_code == 200
    except httpx.TransportError:
        return False


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.hits.bare", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args(arguments).port
    uvicorn.run(app, host="127.0.0.1", port=port, lifespan="off", access_log=False, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1:])
