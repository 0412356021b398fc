"""API keys: their text, the headers that carry them, and the valid ones in memory.

A key is `mgs_<id>_<secret>`: an id of 16 hexadecimal digits, and a secret of 43, which is 32 random bytes as base64url.
So many bits can't be guessed however fast the hash is, so plain SHA-256 is right for them; a password needs a slow one.
A request presents its key as `Authorization: Bearer KEY` or `xi-api-key: KEY`.

Without API keys the service is for its own machine only.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from serve_app.errors import NotReady
from serve_app.faults import Faults
from serve_app.identity import ApiKey
from serve_app.stores.store import StoreError
from serve_app.stores.threads import ThreadPool
from serve_app.tasks import BackgroundTask, detached


class PublicWithoutKeys(ValueError):
    """The service would listen on the network without API keys."""


def check_bind_address(host: str, keys: Literal["none", "required"]) -> None:
    """Checks the address that the service is to listen on. Raises: PublicWithoutKeys, one sentence."""
    if keys == "none" and not is_loopback(host):
        raise PublicWithoutKeys(
            "the service would listen beyond this machine and ask nobody for an API key; "
            "set http_options.host: 127.0.0.1, or access.keys: required and make keys with "
            "`musicgen keys make`"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address. Any name but `localhost` counts as reachable from outside."""
    address = address_of(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address in the text, IPv4 also where it is mapped into IPv6; None for a name or nothing."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


_AUTHORIZATION = b"authorization"
_API_KEY = b"xi-api-key"
_SCHEME = b"bearer "
CREDENTIAL_HEADERS = frozenset({_AUTHORIZATION, _API_KEY})

Header = tuple[bytes, bytes]


def presented_key(headers: Iterable[Header]) -> bytes:
    """The one key in the headers; empty where there is none, a header twice, or two keys that differ.

    The result may be any bytes, and need not be a key.

    Args:
        headers: as in ASGI's scope.
    """
    shown = [(name.lower(), value.strip(b" \t")) for name, value in headers if name.lower() in CREDENTIAL_HEADERS]
    keys = {_key(name, value) for name, value in shown}
    if len(keys) != 1 or len({name for name, _ in shown}) != len(shown):
        return b""
    return keys.pop()


def without_credentials(headers: Iterable[Header]) -> list[Header]:
    """The other headers: what handles the request from here on needs no key, and so can't leak it."""
    return [each for each in headers if each[0].lower() not in CREDENTIAL_HEADERS]


def _key(name: bytes, value: bytes) -> bytes:
    if name == _API_KEY:
        return value
    return value[len(_SCHEME) :].lstrip(b" ") if value[: len(_SCHEME)].lower() == _SCHEME else b""


_TEXT = re.compile(rb"mgs_(?P<id>[0-9a-f]{16})_(?P<secret>[A-Za-z0-9_-]{43})")
MAX_KEY_BYTES = 4 + 16 + 1 + 43


@dataclass(frozen=True)
class NewKey:
    """A new key: only now does the service know its text, which `repr` doesn't show."""

    id: str
    text: str = field(repr=False)
    digest: bytes = field(repr=False)


def generate_key() -> NewKey:
    """A new random key."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    return NewKey(key_id, f"mgs_{key_id}_{secret}", digest_of(secret.encode()))


def split_key(presented_key: bytes) -> tuple[str, bytes]:
    """The id and the secret. What is no key has an empty id, and its first bytes as a secret."""
    match = _TEXT.fullmatch(presented_key)
    if match is None:
        return "", presented_key[:MAX_KEY_BYTES]
    return match["id"].decode(), match["secret"]


def digest_of(secret: bytes) -> bytes:
    """The stored form of a secret: SHA-256, 32 bytes."""
    return hashlib.sha256(secret).digest()


REFRESH_EVERY_S = 2.0
# With REFRESH_EVERY_S, a revocation acts within five seconds even where the reading takes as long as it may.
MAX_TIMEOUT_S = 2.0
_MIN_INTERVAL_S = 1.0
_NOBODY = ApiKey(id="", tenant="", label="", digest=bytes(32), created_s=0.0)


class KeyStore(Protocol):
    """Where the keys are stored. The call blocks, so it runs in a thread."""

    def all(self) -> list[ApiKey]:
        """Every key that was ever made. Raises: StoreError."""
        ...


class ApiKeyCache:
    """The valid API keys, in memory: finding a caller needs no call of the database.

    They are read again every two seconds, so that a revocation acts within five, and when an unknown key is presented,
    so that a new one works at once; at most once a second, however many are presented. While the database is down, the
    keys read last stay valid.

    Args:
        timeout_s: of each reading.
        clock: seconds, monotonic.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        keys: KeyStore,
        threads: ThreadPool,
        faults: Faults,
        *,
        timeout_s: float = MAX_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._keys = keys
        self._threads = threads
        self._faults = faults
        self._timeout_s = min(timeout_s, MAX_TIMEOUT_S)
        self._clock = clock
        self._sleep = sleep
        self._valid: Mapping[str, ApiKey] | None = None
        self._read_s = -math.inf
        self._is_down = False
        self._reading: asyncio.Task[None] | None = None
        self._refreshing = BackgroundTask(self._refresh)

    def start(self) -> None:
        """Begins to read the keys."""
        self._refreshing.start()

    async def close(self) -> None:
        """Ends the readings."""
        try:
            await self._refreshing.close()
            if self._reading is not None:
                await asyncio.wait({self._reading})
        finally:
            await self._threads.close()

    async def find(self, presented_key: bytes) -> ApiKey | None:
        """The valid key that these bytes are, else None, whatever is wrong with them.

        Raises:
            NotReady: no keys have been read yet.
        """
        if self._refreshing.fault is not None:
            # Keys that are no longer refreshed are not to be trusted.
            raise self._refreshing.fault
        key = self._match(presented_key)
        if key is None and self._is_due():
            await self._read()
            key = self._match(presented_key)
        if self._valid is None:
            raise NotReady("The API keys can't be read now: try again later.")
        return key

    def _match(self, presented_key: bytes) -> ApiKey | None:
        key_id, secret = split_key(presented_key)
        # An unknown id is compared too, with a digest whose secret nobody knows: timing must not tell which ids exist.
        key = (self._valid or {}).get(key_id, _NOBODY)
        is_right = hmac.compare_digest(digest_of(secret), key.digest)
        return key if is_right else None

    def _is_due(self) -> bool:
        """Whether to wait for a reading, one in progress or a new one; never while the database is known to be down."""
        if self._is_down:
            return False
        return self._reading is not None or self._clock() - self._read_s >= _MIN_INTERVAL_S

    async def _refresh(self) -> None:
        while True:
            await self._read()
            await self._sleep(REFRESH_EVERY_S)

    async def _read(self) -> None:
        """Joins the reading in progress, or begins one. Cancelling one caller does not end it: others may wait too."""
        if self._reading is None:
            self._read_s = self._clock()
            self._reading = detached(self._read_once())
        reading = self._reading
        await asyncio.wait({reading})
        if not reading.cancelled():
            reading.result()

    async def _read_once(self) -> None:
        try:
            keys = await self._threads.run(self._keys.all, self._timeout_s)
        except StoreError as error:
            self._is_down = True
            self._faults.count(f"keys read {error.kind}", str(error))
        else:
            self._is_down = False
            self._valid = {key.id: key for key in keys if key.revoked_s is None}
        finally:
            self._reading = None
