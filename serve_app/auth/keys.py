"""Without API keys the service is for this machine only.

What a request shows of an API key: `Authorization: Bearer KEY` or `xi-api-key: KEY`.

An API key as text: `mgs_<id>_<secret>`, an id of 16 hexadecimal digits and a secret of 43 characters.

The secret is 32 random bytes in base64url. So many bits can't be guessed, however fast the hash: plain SHA-256 is right
for them, where a password, which has few, needs a slow one.

The live API keys, in memory: who asks is known without a call of the database.

They are read again every two seconds, so that a revocation acts within five, and when a key is shown that is not right,
so that a new one works at once; but not twice in a second, however many are shown. While the records are down the keys
read last stay in force.
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
from serve_app.stores.threads import Threads
from serve_app.tasks import Background, detached


class PublicWithoutKeys(ValueError):
    """The service would listen on the network without asking who is there."""


def check(host: str, keys: Literal["none", "required"]) -> None:
    """host: what the service is to listen on. Raises: PublicWithoutKeys, one sentence."""
    if keys == "none" and not is_loopback(host):
        raise PublicWithoutKeys(
            "the service would listen beyond this machine and ask nobody for an API key; "
            "set http_options.host: 127.0.0.1, or access.keys: required and make keys with `python -m serve_app.cli.keys`"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address. A name other than `localhost` may stand for any."""
    address = address_of(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that the text is, IPv4 also where it is written as IPv6; None for a name or nothing."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


_AUTHORIZATION = b"authorization"
_API_KEY = b"xi-api-key"
_SCHEME = b"bearer "
HEADERS = frozenset({_AUTHORIZATION, _API_KEY})

Header = tuple[bytes, bytes]


def presented(headers: Iterable[Header]) -> bytes:
    """The one key that the headers show; empty where they show none, a header twice, or two that differ.

    headers: as ASGI has them. Any bytes will do, and what comes back need not be a key.
    """
    shown = [(name.lower(), value.strip(b" \t")) for name, value in headers if name.lower() in HEADERS]
    keys = {_key(name, value) for name, value in shown}
    if len(keys) != 1 or len({name for name, _ in shown}) != len(shown):
        return b""
    return keys.pop()


def without(headers: Iterable[Header]) -> list[Header]:
    """The other headers: whoever handles the request further needs no key, and can't lose it."""
    return [each for each in headers if each[0].lower() not in HEADERS]


def _key(name: bytes, value: bytes) -> bytes:
    if name == _API_KEY:
        return value
    return value[len(_SCHEME) :].lstrip(b" ") if value[: len(_SCHEME)].lower() == _SCHEME else b""


_TEXT = re.compile(rb"mgs_(?P<id>[0-9a-f]{16})_(?P<secret>[A-Za-z0-9_-]{43})")
MAX_BYTES = 4 + 16 + 1 + 43


@dataclass(frozen=True)
class NewKey:
    """A key just drawn: the only moment at which its text is known to the service. The text is not shown by `repr`."""

    id: str
    text: str = field(repr=False)
    digest: bytes = field(repr=False)


def draw() -> NewKey:
    """A new key, like no other."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    return NewKey(key_id, f"mgs_{key_id}_{secret}", digest(secret.encode()))


def split(presented: bytes) -> tuple[str, bytes]:
    """The id and the secret. What is no key at all has the id of none, and its first bytes for a secret."""
    match = _TEXT.fullmatch(presented)
    if match is None:
        return "", presented[:MAX_BYTES]
    return match["id"].decode(), match["secret"]


def digest(secret: bytes) -> bytes:
    """What is kept of a secret: SHA-256, 32 bytes."""
    return hashlib.sha256(secret).digest()


EVERY_S = 2.0
# With the wait between, a revocation acts within five seconds even where the call takes as long as it may.
MAX_TIMEOUT_S = 2.0
_AT_MOST_EVERY_S = 1.0
_NOBODY = ApiKey(id="", tenant="", label="", digest=bytes(32), created_s=0.0)


class Keys(Protocol):
    """Where the keys are kept. The call waits, for a thread."""

    def all(self) -> list[ApiKey]:
        """Every key that was ever made. Raises: StoreError."""
        ...


class Keyring:
    """timeout_s: of each reading. clock: seconds, monotonic. sleep: waits for so many seconds."""

    def __init__(
        self,
        keys: Keys,
        threads: Threads,
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
        self._live: Mapping[str, ApiKey] | None = None
        self._asked_s = -math.inf
        self._is_down = False
        self._reading: asyncio.Task[None] | None = None
        self._refreshing = Background(self._refresh)

    def start(self) -> None:
        """Begins to read."""
        self._refreshing.start()

    async def close(self) -> None:
        """Ends what runs in the background."""
        try:
            await self._refreshing.close()
            if self._reading is not None:
                await asyncio.wait({self._reading})
        finally:
            await self._threads.close()

    async def find(self, presented: bytes) -> ApiKey | None:
        """The live key that these bytes are; None for all that is wrong, in one way for every kind of wrong.

        Raises: NotReady where no keys have been read yet.
        """
        if self._refreshing.fault is not None:
            # Keys that are not read again are not to be trusted.
            raise self._refreshing.fault
        key = self._match(presented)
        if key is None and self._is_due():
            await self._read()
            key = self._match(presented)
        if self._live is None:
            raise NotReady("The API keys can't be read now: try again later.")
        return key

    def _match(self, presented: bytes) -> ApiKey | None:
        key_id, secret = split(presented)
        # An id that is not there is compared too, with a digest of which nobody knows the secret.
        key = (self._live or {}).get(key_id, _NOBODY)
        is_right = hmac.compare_digest(digest(secret), key.digest)
        return key if is_right else None

    def _is_due(self) -> bool:
        """Whether to wait for a reading, one on its way or a new one; never for records that are known to be down."""
        if self._is_down:
            return False
        return self._reading is not None or self._clock() - self._asked_s >= _AT_MOST_EVERY_S

    async def _refresh(self) -> None:
        while True:
            await self._read()
            await self._sleep(EVERY_S)

    async def _read(self) -> None:
        """Joins the reading on its way, or begins one. Cancelling who waits does not end it: others may wait too."""
        if self._reading is None:
            self._asked_s = self._clock()
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
            self._live = {key.id: key for key in keys if key.revoked_s is None}
        finally:
            self._reading = None
