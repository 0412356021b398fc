"""An HTTP client for users: each request has a connection of its own, and data is handed over as soon as it comes.

It uses the standard library, as Locust's own clients wait for whole blocks of a body and so hide when sound came. It
follows no redirect and uses no proxy, so that load goes nowhere else.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from loadtests.load.response_checks import check_status

_PIECE_BYTES = 64 * 1024


class Response:
    """headers: of any case."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers  # type: ignore[assignment]  # its `get` has other defaults

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes, until its end. Raises: OSError, HTTPException where it breaks off visibly."""
        while piece := self._response.read1(_PIECE_BYTES):
            yield piece

    def read(self) -> bytes:
        """All of the body that comes."""
        return b"".join(self.pieces())

    def expect(self, status: int) -> None:
        """Raises: WrongAnswer, Refused where it is another one."""
        check_status(self.status, status, self.headers, b"" if self.status == status else self.read())


class ServiceClient:
    """url: checked. api_key: None where none is needed. silence_s: for how long nothing may come."""

    def __init__(self, url: str, api_key: str | None, silence_s: float) -> None:
        self._url = url
        self._api_key = api_key
        parts = urlsplit(url)
        self._netloc = parts.netloc
        self._path = parts.path
        self._connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._silence_s = silence_s

    def waiting(self, silence_s: float) -> ServiceClient:
        """The same with another timeout."""
        return ServiceClient(self._url, self._api_key, silence_s)

    @contextmanager
    def request(
        self, method: str, path: str, body: Mapping[str, object] | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[Response]:
        """The response, once its headers are there. Leaving the block before its end disconnects.

        Raises: OSError, HTTPException where there is none.
        """
        connection = self._connection(self._netloc, timeout=self._silence_s)
        sent = None if body is None else json.dumps(body).encode()
        described = {} if sent is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, self._path + path, sent, {**self._headers, **described, **(headers or {})})
            with connection.getresponse() as response:
                yield Response(response)
        finally:
            connection.close()
