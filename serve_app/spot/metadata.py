"""What a cloud says about the end of the instance that asks.

A cloud's metadata server: plain HTTP to an address that only the instance itself can reach.

Nothing of the environment is heeded (no proxy, no `.netrc`), no redirect followed, and no answer read to its end that
is longer than a notice can be.
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


class Kind(str, Enum):
    """REBALANCE: an interruption has become likely; nothing is decided. UNKNOWN: an end of a kind new to us."""

    TERMINATE = "terminate"
    STOP = "stop"
    HIBERNATE = "hibernate"
    PREEMPT = "preempt"
    REBALANCE = "rebalance"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Notice:
    """remaining_s: from the reading on, by the clock of whoever gave the notice; None where it doesn't say.

    said: the time of the end as it was given, whereby a notice is told from the next one.
    """

    kind: Kind
    said: str = ""
    remaining_s: float | None = None

    @property
    def identity(self) -> tuple[Kind, str]:
        """The same for each reading of one notice."""
        return self.kind, self.said


class Cloud(Protocol):
    """One cloud's way to tell. window_s: how long before the end it does. poll_s: how often to ask."""

    window_s: float
    poll_s: float

    async def notices(self) -> Sequence[Notice]:
        """Those that stand. Raises: MetadataError when nothing can be learnt now."""


DEFAULT_URL = "http://169.254.169.254"
# What EC2 answers at over IPv6 is not of the link-local range.
_EC2_IPV6 = ipaddress.IPv6Address("fd00:ec2::254")
_MAX_BYTES = 16 * 1024


class MetadataError(Exception):
    """The server is away, slow, or answers what can't be used; one sentence."""


@dataclass(frozen=True)
class Answer:
    """now_s: the server's own time when it answered, since 1970; ours, where it doesn't tell."""

    status: int
    text: str
    headers: Mapping[str, str]
    now_s: float


class MetadataServer:
    """url: without a final slash, as `checked_url` lets it pass. timeout_s: of a whole exchange."""

    def __init__(self, url: str, timeout_s: float) -> None:
        # Nothing here speaks TLS: no certificates are read, and none would be trusted.
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

    async def ask(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """Raises: MetadataError when there is no whole answer in time; any status is an answer."""
        try:
            # httpx's own time-out is of each read: a server that dribbles would have all the time it likes.
            return await asyncio.wait_for(self._ask(method, path, headers), self._timeout_s)
        except (TimeoutError, asyncio.TimeoutError, httpx.TimeoutException) as error:
            raise MetadataError(f"{method} {path}: no answer within {self._timeout_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise MetadataError(f"{method} {path}: {type(error).__name__}") from error

    async def _ask(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        async with self._client.stream(method, path, headers=headers) as response:
            content = b""
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > _MAX_BYTES:
                    raise MetadataError(f"{method} {path}: an answer of more than {_MAX_BYTES} bytes is no notice")
            text = content.decode(errors="replace")
            return Answer(response.status_code, text, response.headers, _now_s(response.headers.get("date")))


def checked_url(url: str) -> str:
    """The URL without a final slash. Raises: ValueError when it isn't that of a metadata server."""
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
