"""A small model hub: enough of its HTTP API for a snapshot of one repository to be downloaded."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

REPO = "house/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """folder: what the repository holds. refusal: (status, error code) given to every request instead.

    requests: the paths requested, in order of arrival. truncate: a file of which only the first half is sent.
    """

    folder: Path
    refusal: tuple[int, str] | None = None
    truncate: str | None = None
    requests: list[str] = field(default_factory=list)
    url: str = ""

    @property
    def downloads(self) -> set[str]:
        resolve = f"/{REPO}/resolve/{COMMIT}/"
        return {path.removeprefix(resolve) for path in self.requests if path.startswith(resolve)}

    def tree(self) -> list[dict[str, Any]]:
        files = sorted(path for path in self.folder.iterdir() if path.is_file())
        return [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": _etag(f)} for f in files]


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub on a free port of this machine, its address in `hub.url`; gone at the end."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, *args: object) -> None:
        """The tests read `hub.requests`."""

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        self.hub.requests.append(path)
        file = self.hub.folder / path.rpartition("/")[2]
        if self.hub.refusal is not None:
            status, code = self.hub.refusal
            self._send(status, {"X-Error-Code": code}, b"{}", with_body)
        elif path == f"/api/models/{REPO}/tree/{COMMIT}":
            body = json.dumps(self.hub.tree()).encode()
            self._send(200, {"Content-Type": "application/json"}, body, with_body)
        elif path == f"/{REPO}/resolve/{COMMIT}/{file.name}" and file.is_file():
            headers = {"ETag": f'"{_etag(file)}"', "X-Repo-Commit": COMMIT}
            self._send(200, headers, file.read_bytes(), with_body, truncated=file.name == self.hub.truncate)
        elif path.startswith(f"/api/models/{REPO}/"):
            self._send(404, {"X-Error-Code": "RevisionNotFound"}, b"{}", with_body)
        else:
            self._send(404, {"X-Error-Code": "RepoNotFound"}, b"{}", with_body)

    def _send(
        self, status: int, headers: dict[str, str], body: bytes, with_body: bool, truncated: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body[: len(body) // 2] if truncated else body)
        self.close_connection = truncated
