"""Many requests over few connections, by a client that costs little: a thread and a bare socket for each connection.

    echo '{"url": "http://127.0.0.1:8000/v1/music", "body": "{…}", "connections": 16, "requests": 500}' \\
        | python -m loadtests.hits.client

In a process of its own, which starts in a moment as it imports nothing else of this project. A thread waits in the
kernel for its answer, which is read into one buffer; nothing of it is looked at but the head. The one line that comes
out is JSON: seconds in all, milliseconds of each request, sizes of bodies, and how many answers had which X-Cache.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections import Counter
from typing import TypedDict
from urllib.parse import urlsplit

_HEAD_END = b"\r\n\r\n"
_MAX_HEAD_BYTES = 16 * 1024
_TIMEOUT_S = 60.0


class LoadTask(TypedDict):
    """requests: of all connections together."""

    url: str
    body: str
    connections: int
    requests: int


class LoadResult(TypedDict):
    """outcomes: by X-Cache, "none" where there is no such header."""

    total_s: float
    ms: list[float]
    sizes: list[int]
    outcomes: dict[str, int]


class Connection:
    """One socket, kept open."""

    def __init__(self, host: str, port: int, request: bytes) -> None:
        self._socket = socket.create_connection((host, port), _TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = request
        self._buffer = bytearray(2**20)

    def ask(self) -> tuple[int, str]:
        """The size of the answer's body, and its X-Cache. Raises: RuntimeError for anything but 200; OSError."""
        self._socket.sendall(self._request)
        filled, end = 0, -1
        while end < 0:
            filled += self._receive(filled)
            end = self._buffer.find(_HEAD_END, 0, min(filled, _MAX_HEAD_BYTES))
        status, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        if status.split(" ")[1] != "200":
            raise RuntimeError(f"{status}: {self._buffer[end:filled].decode(errors='replace')[:300]}")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        size = int(headers["content-length"])
        whole = end + len(_HEAD_END) + size
        if whole > len(self._buffer):
            self._buffer.extend(bytes(whole - len(self._buffer)))
        while filled < whole:
            filled += self._receive(filled)
        return size, headers.get("x-cache", "none")

    def close(self) -> None:
        self._socket.close()

    def _receive(self, filled: int) -> int:
        with memoryview(self._buffer) as view:
            num = self._socket.recv_into(view[filled:])
        if not num:
            raise RuntimeError("the server closed the connection")
        return num


def load(task: LoadTask) -> LoadResult:
    """All requests; the connections are there before the clock starts. Raises: as `Connection.ask`."""
    parts = urlsplit(task["url"])
    assert parts.hostname is not None
    assert parts.port is not None
    body = task["body"].encode()
    head = (
        f"POST {parts.path}{'?' + parts.query if parts.query else ''} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    connections = [Connection(parts.hostname, parts.port, request) for _ in range(task["connections"])]
    left = iter(range(task["requests"]))  # shared: `next` is one step to other threads
    ms, sizes, outcomes, errors = [], [], Counter[str](), list[Exception]()

    def work(connection: Connection) -> None:
        try:
            for _ in left:
                began_s = time.perf_counter()
                size, outcome = connection.ask()
                ms.append(1000 * (time.perf_counter() - began_s))
                sizes.append(size)
                outcomes[outcome] += 1
        except (OSError, RuntimeError) as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(connection,)) for connection in connections]
    began_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total_s = time.perf_counter() - began_s
    for connection in connections:
        connection.close()
    if errors:
        raise errors[0]
    return {"total_s": total_s, "ms": ms, "sizes": sorted(set(sizes)), "outcomes": dict(outcomes)}


if __name__ == "__main__":
    print(json.dumps(load(json.load(sys.stdin))))
