"""The live API keys, in memory: who asks is known without a call of the database.

They are read again every two seconds, so that a revocation acts within five, and when a key is shown that is not right,
so that a new one works at once; but not twice in a second, however many are shown. While the records are down the keys
read last stay in force.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from serve_app.access import key_text
from serve_app.access.api_key import ApiKey
from serve_app.access.background import Background
from serve_app.api.errors import NotReady
from serve_app.cache.faults import Faults
from serve_app.cache.store import StoreError
from serve_app.detached import detached
from serve_app.records.threads import Threads

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
        key_id, secret = key_text.split(presented)
        # An id that is not there is compared too, with a digest of which nobody knows the secret.
        key = (self._live or {}).get(key_id, _NOBODY)
        is_right = hmac.compare_digest(key_text.digest(secret), key.digest)
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
