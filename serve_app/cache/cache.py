"""The cache: generations, their sound, and the seeds of requests without one, in memory and in a store that may fail.

No fault of the store raises an error, and what a request need not wait for runs in the background. A broken entry is a
miss; it is deleted and counted. An entry of a newer release is a miss too, but stays: during a roll-out both releases
use one store.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from deployments.messages import CacheMode
from serve_app.cache.decision import Decision, decide, is_live, known_seed
from serve_app.cache.entry import (
    BrokenEntry,
    Cached,
    CachedAlias,
    CachedCodes,
    CachedSound,
    NewerEntry,
    Packed,
    is_newer,
    pack,
    unpack,
)
from serve_app.cache.keys import GenerationRequest, Key, alias_key, generation_key
from serve_app.faults import Faults

# Key, object and dictionary slot: so that small entries count too.
_OVERHEAD_BYTES = 512
# About a tenth of a millisecond of SHA-256.
_LARGE_BYTES = 1 << 16
# JavaScript's integers are exact below 2^53, so a drawn seed survives it.
_NUM_DRAWN_SEEDS = 2**53


class RecentEntries:
    """Codes and sound in memory, ready for use; the least recently used are evicted. max_bytes: of all together.

    It holds no aliases: another replica may change one, while the entry of a key of codes or sound never changes.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._entries: OrderedDict[Key, CachedCodes | CachedSound] = OrderedDict()

    def get(self, key: Key) -> CachedCodes | CachedSound | None:
        """The entry, which is now the most recently used."""
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: Key, cached: CachedCodes | CachedSound) -> None:
        """Holds the entry, unless it is larger than an eighth of the limit: it would evict much and serve little."""
        self.drop(key)
        if _bytes_of(cached) > self.max_bytes / 8:
            return
        self._entries[key] = cached
        self.size_bytes += _bytes_of(cached)
        while self.size_bytes > self.max_bytes:
            self.drop(next(iter(self._entries)))

    def drop(self, key: Key) -> None:
        """Removes the entry, if there is one."""
        cached = self._entries.pop(key, None)
        if cached is not None:
            self.size_bytes -= _bytes_of(cached)

    def check_integrity(self) -> None:
        """Raises: AssertionError where the count is wrong or over the limit."""
        assert self.size_bytes == sum(map(_bytes_of, self._entries.values()))
        assert self.size_bytes <= self.max_bytes


def _bytes_of(cached: CachedCodes | CachedSound) -> int:
    return _OVERHEAD_BYTES + (cached.codes.nbytes if isinstance(cached, CachedCodes) else len(cached.sound))


def drawn_seed() -> int:
    """A random seed below 2^53."""
    return secrets.randbelow(_NUM_DRAWN_SEEDS)


@dataclass(frozen=True)
class Lookup:
    """The cache's answer to a request.

    key: of the generation. codes: int16 [K, decision.cached_frames] or longer, None where none are used.
    """

    decision: Decision
    key: Key
    codes: CachedCodes | None = None


class EntryStore(Protocol):
    """A store whose methods never raise StoreError (`stores.circuit_breaker`)."""

    async def get(self, key: Key) -> Packed | None:
        """The entry; None where there is none, or where that is not known."""
        ...

    async def put(self, key: Key, entry: Packed) -> bool:
        """Returns whether the entry is stored."""
        ...

    async def delete(self, key: Key) -> bool:
        """Returns whether the entry is gone."""
        ...

    async def link(self, key: Key, expires_s: int, file_name: str) -> str | None:
        """A URL from which the entry's sound can be fetched for `expires_s`; None where there is none."""
        ...

    async def close(self) -> None:
        """Closes the store; no call follows."""
        ...


class Cache:
    """The cache of one replica.

    Args:
        store: holds the entries.
        recent: entries in memory.
        faults: counts those of the store, and broken entries.
        ttl_s: how long an entry is used, None: forever.
        clock: seconds since 1970.
        draw: returns a random seed.
    """

    def __init__(
        self,
        store: EntryStore,
        recent: RecentEntries,
        faults: Faults,
        *,
        ttl_s: float | None,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], int] = drawn_seed,
    ) -> None:
        self.faults = faults
        self._store = store
        self._recent = recent
        self._ttl_s = ttl_s
        self._clock = clock
        self._draw = draw
        self._background: set[asyncio.Task[bool]] = set()

    async def seed_for(self, request: GenerationRequest, mode: CacheMode, seed: int | None) -> int | None:
        """The seed whose sound or codes may be cached: the given one, or the alias's; None: one has to be drawn."""
        if seed is not None or mode != "use":
            return known_seed(mode, seed, None)
        alias = await self._read(alias_key(request))
        return known_seed(mode, seed, alias.seed if isinstance(alias, CachedAlias) else None)

    async def sound(self, key: Key) -> CachedSound | None:
        """The cached file of a key of `audio_key`. Only for mode `use`."""
        cached = await self._read(key)
        return cached if isinstance(cached, CachedSound) else None

    async def look_up(
        self,
        request: GenerationRequest,
        mode: CacheMode,
        seed: int | None,
        *,
        num_frames: int,
        drawn: int | None = None,
    ) -> Lookup:
        """Applies the rules of `decision`: reads what they need, and writes the alias where they say so.

        Args:
            request: all that decides the codes.
            mode: of the cache.
            seed: the result of `seed_for`, or the request's own.
            num_frames: of the request.
            drawn: the seed to use where one has to be drawn; None: a random one.
        """
        known = await self.seed_for(request, mode, seed)
        draw = self._draw if drawn is None else lambda: drawn
        codes = None
        if known is not None and mode == "use":
            codes = await self._read(generation_key(request, known), num_frames)
        cached = codes if isinstance(codes, CachedCodes) and codes.numerics == request.model.numerics else None
        num_cached = 0 if cached is None else cached.codes.shape[1]
        decision = decide(mode, known, num_frames=num_frames, num_cached=num_cached, draw=draw)
        if decision.writes_alias:
            self._start(self._write(alias_key(request), CachedAlias(decision.seed, self._clock())))
        key = generation_key(request, decision.seed)
        return Lookup(decision, key, cached if decision.cached_frames else None)

    async def put_codes(self, key: Key, codes: np.ndarray, numerics: str) -> bool:
        """Stores all codes of a generation, int16 [K, T], where the decision says so. Returns whether it worked."""
        return await self._write(key, CachedCodes(codes, numerics, self._clock()))

    async def put_sound(self, key: Key, sound: CachedSound) -> bool:
        """Stores a finished file under a key of `audio_key`, in every mode but `off`. Returns whether it worked."""
        return await self._write(key, sound)

    def is_in_memory(self, key: Key) -> bool:
        """Whether the entry is in memory, and need not be stored again."""
        cached = self._recent.get(key)
        return cached is not None and self._is_live(cached)

    def age_s(self, cached: CachedCodes | CachedSound) -> int:
        """How long ago it was generated, as in the header Age: whole seconds, not negative."""
        return max(0, int(self._clock() - cached.created_s))

    async def link(self, key: Key, expires_s: int, file_name: str) -> str | None:
        """A URL of cached sound, unchecked; None where the store has none, or none now."""
        return await self._store.link(key, expires_s, file_name)

    async def close(self) -> None:
        """Waits for calls in the background, within the store's time-outs, and closes the store."""
        await self.settled()
        await self._store.close()

    async def settled(self) -> None:
        """Returns when no call of the store runs in the background."""
        await asyncio.gather(*self._background)

    def _start(self, call: Coroutine[Any, Any, bool]) -> None:
        task = asyncio.create_task(call)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _read(self, key: Key, num_frames: int = 0) -> Cached | None:
        """The entry, unless it has expired. num_frames: of codes that are wanted; another replica may have stored more
        of them than this one has in memory.
        """
        in_memory: Cached | None = self._recent.get(key)
        if in_memory is not None and not self._is_live(in_memory):
            self._recent.drop(key)
            in_memory = None
        if in_memory is not None and _frames_of(in_memory) >= num_frames:
            return in_memory
        packed = await self._store.get(key)
        cached = None if packed is None else await self._unpacked(key, packed)
        if cached is None or not self._is_live(cached):
            return in_memory
        if in_memory is not None and _frames_of(in_memory) >= _frames_of(cached):
            return in_memory
        if not isinstance(cached, CachedAlias):
            self._recent.put(key, cached)
        return cached

    def _is_live(self, cached: Cached) -> bool:
        return is_live(cached.created_s, self._clock(), self._ttl_s)

    async def _unpacked(self, key: Key, packed: Packed) -> Cached | None:
        try:
            # The checksum of sound takes milliseconds, which would block the loop.
            if len(packed.body) <= _LARGE_BYTES:
                return unpack(key, packed)
            return await asyncio.to_thread(unpack, key, packed)
        except NewerEntry as error:
            self.faults.count("newer entry", f"{key}: {error}")
        except BrokenEntry as error:
            self.faults.count("broken entry", f"{key}: {error}")
            self._start(self._store.delete(key))
        return None

    async def _write(self, key: Key, cached: Cached) -> bool:
        packed = await asyncio.to_thread(pack, key, cached)
        before = await self._store.get(key)
        if before is not None and is_newer(before):
            self.faults.count("newer entry", f"{key}: it is not written over")
            return False
        if not isinstance(cached, CachedAlias):
            self._recent.put(key, cached)
        return await self._store.put(key, packed)


def _frames_of(cached: Cached) -> int:
    return cached.codes.shape[1] if isinstance(cached, CachedCodes) else 0
