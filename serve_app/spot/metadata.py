"""A client for a cloud's metadata server, and the notices that a cloud gives of an instance's end.

The server is plain HTTP at an address that only the instance itself can reach. The client ignores the environment (no
proxy, no `.netrc`), follows no redirect, and stops reading a response that is longer than a notice can be.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from types import TracebackType
from typing import Protocol
from urllib.parse import urlsplit

import httpx


class NoticeKind(str, Enum):
    """REBALANCE: an interruption has become likely, but is not decided. UNKNOWN: an end of a kind not known here."""

    TERMINATE = "terminate"
    STOP = "stop"
    HIBERNATE = "hibernate"
    PREEMPT = "preempt"
    REBALANCE = "rebalance"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Notice:
    """One notice, as it was read.

    remaining_s: from the reading to the end, by the cloud's clock; None where the notice gives no time. said: the time
    of the end as the cloud gave it; it tells one notice from the next.
    """

    kind: NoticeKind
    said: str = ""
    remaining_s: float | None = None

    @property
    def identity(self) -> tuple[NoticeKind, str]:
        """Equal for each reading of one notice."""
        return self.kind, self.said


class Cloud(Protocol):
    """How one cloud gives notice. window_s: how long before the end. poll_s: how often to poll."""

    window_s: float
    poll_s: float

    async def notices(self) -> Sequence[Notice]:
        """Returns the notices that stand now. Raises: MetadataError when the server gives no usable response."""


DEFAULT_URL = "http://169.254.169.254"
# EC2's address over IPv6, which is not in the link-local range.
_EC2_IPV6 = ipaddress.IPv6Address("fd00:ec2::254")
_MAX_BYTES = 16 * 1024


class MetadataError(Exception):
    """The server is away or slow, or its response cannot be used; one sentence."""


@dataclass(frozen=True)
class MetadataResponse:
    """now_s: the server's own time when it responded, since 1970; ours, if it does not send it."""

    status: int
    text: str
    headers: Mapping[str, str]
    now_s: float


class MetadataServer:
    """A client. url: as `checked_url` returns it. timeout_s: of a whole exchange."""

    def __init__(self, url: str, timeout_s: float) -> None:
        # No TLS here: no certificates are loaded, and none would be trusted.
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._client = httpx.AsyncClient(
            base_url=url, verify=tls, trust_env=False, follow_redirects=False, timeout=timeout_s
        )
        self._timeout_s = timeout_s

    async def __aenter__(self) -> MetadataServer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def request(self, method: str, path: str, headers: Mapping[str, str]) -> MetadataResponse:
        """Sends a request; any status is a response. Raises: MetadataError without a whole response in time."""
        try:
            # httpx's own timeout counts for each read: a server that sends a byte at a time would never reach it.
            return await asyncio.wait_for(self._request(method, path, headers), self._timeout_s)
        except (TimeoutError, asyncio.TimeoutError, httpx.TimeoutException) as error:
            raise MetadataError(f"{method} {path}: no answer within {self._timeout_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise MetadataError(f"{method} {path}: {type(error).__name__}") from error

    async def _request(self, method: str, path: str, headers: Mapping[str, str]) -> MetadataResponse:
        async with self._client.stream(method, path, headers=headers) as response:
            content = b""
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > _MAX_BYTES:
                    raise MetadataError(f"{method} {path}: an answer of more than {_MAX_BYTES} bytes is no notice")
            text = content.decode(errors="replace")
            return MetadataResponse(response.status_code, text, response.headers, _now_s(response.headers.get("date")))


def checked_url(url: str) -> str:
    """Returns the URL without a final slash. Raises: ValueError when it cannot be a metadata server's."""
    try:
        parts = urlsplit(url)
        is_plain = f"http://{parts.netloc}" == url.rstrip("/") and parts.username is None and parts.port != 0
    except ValueError:
        is_plain = False
    if not is_plain:
        raise ValueError(f"must be http://ADDRESS[:PORT] and no more, such as {DEFAULT_URL}")
    try:
        address = ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        raise ValueError(f"must name its host by IP address, such as {DEFAULT_URL}: a name can lead anywhere") from None
    if not (address.is_link_local or address.is_loopback or address == _EC2_IPV6):
        raise ValueError(f"must have a link-local address such as {DEFAULT_URL}, or one of the loopback for tests")
    return url.rstrip("/")


def _now_s(date: str | None) -> float:
    try:
        return parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return time.time()
