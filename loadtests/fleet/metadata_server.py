"""A small metadata server on the loopback, that answers as EC2's (version 2) and Google's do, and can fail.

with metadata_server() as server:
    server.interrupt("terminate", in_s=120)
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "/latest/api/token"  # noqa: S105 (a path)
ACTION = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"
PREEMPTED = "/computeMetadata/v1/instance/preempted"
_TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105 (a name)
_TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
_MAX_TTL_S = 21600
_FLAVOR = "Metadata-Flavor"


class MetadataServer:
    """clock: the cloud's, in seconds since 1970. num_requests: by path, tokens included."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.num_requests: Counter[str] = Counter()
        self.is_preempted = False
        self.sends_flavor = True
        self._texts: dict[str, str] = {}
        self._faults: dict[str, tuple[int, bytes]] = {}
        self._tokens: dict[str, float] = {}
        self._released = threading.Event()
        self._released.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = False  # so that its end waits for them
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="metadata-server")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def interrupt(self, action: str, in_s: float) -> str:
        """A notice stands from now on. Returns its time as it is given."""
        end = self._stamp(self.clock() + in_s)
        self._texts[ACTION] = json.dumps({"action": action, "time": end})
        return end

    def rebalance(self) -> None:
        """A recommendation stands from now on."""
        self._texts[REBALANCE] = json.dumps({"noticeTime": self._stamp(self.clock())})

    def say(self, path: str, text: str) -> None:
        """Whatever the text is, it is the answer from now on."""
        self._texts[path] = text

    def fail(self, path: str, status: int, content: bytes = b"") -> None:
        """From now on, for whoever asks it with a right token."""
        self._faults[path] = status, content

    def heal(self) -> None:
        """Ends what `fail` and `stall` began."""
        self._faults.clear()
        self._released.set()

    def stall(self) -> None:
        """Takes requests from now on, and answers none until `heal`."""
        self._released.clear()

    def forget_tokens(self) -> None:
        """As if they had all expired."""
        self._tokens.clear()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self.heal()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, path: str, headers: Any) -> tuple[int, bytes, dict[str, str]]:
        """Status, content and headers, as the cloud's documentation says."""
        self.num_requests[path] += 1
        self._released.wait()
        if path == PREEMPTED:
            return self._google(headers)
        if path == TOKEN and path not in self._faults:
            return self._token(method, headers)
        if path != TOKEN and self._tokens.get(headers.get(_TOKEN_HEADER, ""), 0.0) <= time.monotonic():
            return 401, b"", {}
        if path in self._faults:
            return *self._faults[path], {}
        if method != "GET":
            return 405, b"", {}
        if path not in self._texts:
            return 404, b"", {}
        return 200, self._texts[path].encode(), {"Content-Type": "application/json"}

    def _token(self, method: str, headers: Any) -> tuple[int, bytes, dict[str, str]]:
        ttl = headers.get(_TTL_HEADER, "")
        if method != "PUT":
            return 405, b"", {}
        if "X-Forwarded-For" in headers:
            return 403, b"", {}
        if not ttl.isdigit() or not 1 <= int(ttl) <= _MAX_TTL_S:
            return 400, b"", {}
        token = secrets.token_urlsafe(40)
        self._tokens[token] = time.monotonic() + int(ttl)
        return 200, token.encode(), {_TTL_HEADER: ttl}

    def _google(self, headers: Any) -> tuple[int, bytes, dict[str, str]]:
        if PREEMPTED in self._faults:
            return *self._faults[PREEMPTED], {}
        if headers.get(_FLAVOR) != "Google":
            return 403, b"", {}
        word = self._texts.get(PREEMPTED, "TRUE" if self.is_preempted else "FALSE")
        return 200, word.encode(), {_FLAVOR: "Google"} if self.sends_flavor else {}

    @staticmethod
    def _stamp(seconds: float) -> str:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextlib.contextmanager
def metadata_server(clock: Callable[[], float] = time.time) -> Iterator[MetadataServer]:
    """A server of its own; ended on the way out."""
    server = MetadataServer(clock)
    server.start()
    try:
        yield server
    finally:
        server.close()


def _handler(server: MetadataServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._do("GET")

        def do_PUT(self) -> None:
            self._do("PUT")

        def _do(self, method: str) -> None:
            status, content, headers = server.answer(method, self.path, self.headers)
            with contextlib.suppress(ConnectionError):  # the client may have given up
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def date_time_string(self, timestamp: float | None = None) -> str:
            """Of the `Date` header: by the cloud's clock."""
            return super().date_time_string(server.clock() if timestamp is None else timestamp)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
