"""What was used last, in memory and ready for use: a hit on it waits for no store and sums up no bytes.

The cache: generations, their sound, and the seeds of requests without one, in a store that may fail.

It raises for nothing that a store does, and what a request need not wait for is done beside it. A broken entry is a
miss, deleted and counted. One that a newer program wrote is a miss too, but stays as it is: during a roll-out both
programs use one store.
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


class RecentEntries:
    """Codes and sound by key, the least recently used first out. max_bytes: of all together; 0 holds nothing.

    No aliases: another replica may point one elsewhere, while what a key of codes or sound stands for never changes.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._kept: OrderedDict[Key, CachedCodes | CachedSound] = OrderedDict()

    def get(self, key: Key) -> CachedCodes | CachedSound | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: Key, kept: CachedCodes | CachedSound) -> None:
        """What is larger than an eighth of the whole is not held: it would drive out much and serve little."""
        self.drop(key)
        if _bytes_of(kept) > self.max_bytes / 8:
            return
        self._kept[key] = kept
        self.size_bytes += _bytes_of(kept)
        while self.size_bytes > self.max_bytes:
            self.drop(next(iter(self._kept)))

    def drop(self, key: Key) -> None:
        """Forgets the entry, if there is one."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.size_bytes -= _bytes_of(kept)

    def check_integrity(self) -> None:
        """Raises: AssertionError where the count is wrong or over the limit."""
        assert self.size_bytes == sum(map(_bytes_of, self._kept.values()))
        assert self.size_bytes <= self.max_bytes


def _bytes_of(kept: CachedCodes | CachedSound) -> int:
    return _OVERHEAD_BYTES + (kept.codes.nbytes if isinstance(kept, CachedCodes) else len(kept.sound))


# About a tenth of a millisecond of SHA-256.
_LARGE_BYTES = 1 << 16
# A drawn seed survives JavaScript, whose integers are exact below 2^53.
_NUM_DRAWN_SEEDS = 2**53


def drawn_seed() -> int:
    """A random seed below 2^53."""
    return secrets.randbelow(_NUM_DRAWN_SEEDS)


@dataclass(frozen=True)
class Lookup:
    """What the cache says to a request.

    key: of the generation. codes: int16 [K, decision.kept_frames] and more, None where none are taken.
    """

    decision: Decision
    key: Key
    codes: CachedCodes | None = None


class EntryStore(Protocol):
    """Where entries are kept: a store whose faults harm no request (`stores.guarded`). No method raises StoreError."""

    async def get(self, key: Key) -> Packed | None:
        """The entry; None where there is none, or no telling."""
        ...

    async def put(self, key: Key, entry: Packed) -> bool:
        """Whether the entry is kept."""
        ...

    async def delete(self, key: Key) -> bool:
        """Whether the entry is gone."""
        ...

    async def link(self, key: Key, expires_s: int, file_name: str) -> str | None:
        """An address at which the entry's sound can be fetched for so long; None where there is none."""
        ...

    async def close(self) -> None:
        """Nothing is asked of it afterwards."""
        ...


class Cache:
    """ttl_s: how long anything is found again, None for ever. clock: seconds since 1970. draw: a random seed."""

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
        self._on_its_way: set[asyncio.Task[bool]] = set()

    async def seed_for(self, request: GenerationRequest, mode: CacheMode, seed: int | None) -> int | None:
        """The seed whose sound or codes may be kept: as asked, or as the alias has it; None: one has to be drawn."""
        if seed is not None or mode != "use":
            return known_seed(mode, seed, None)
        alias = await self._read(alias_key(request))
        return known_seed(mode, seed, alias.seed if isinstance(alias, CachedAlias) else None)

    async def sound(self, key: Key) -> CachedSound | None:
        """The file kept under a key of `audio_key`. The caller asks in mode `use` only."""
        kept = await self._read(key)
        return kept if isinstance(kept, CachedSound) else None

    async def look_up(
        self,
        request: GenerationRequest,
        mode: CacheMode,
        seed: int | None,
        *,
        num_frames: int,
        drawn: int | None = None,
    ) -> Lookup:
        """Reads what the rules need, and points the alias at the seed where they say so. seed: as `seed_for` gave it,
        or as asked where the caller has not been there. drawn: the seed to take where one has to be drawn, if the
        caller has told others already.
        """
        known = await self.seed_for(request, mode, seed)
        draw = self._draw if drawn is None else lambda: drawn
        codes = None
        if known is not None and mode == "use":
            codes = await self._read(generation_key(request, known), num_frames)
        kept = codes if isinstance(codes, CachedCodes) and codes.numerics == request.model.numerics else None
        frames_kept = 0 if kept is None else kept.codes.shape[1]
        decision = decide(mode, known, num_frames=num_frames, frames_kept=frames_kept, draw=draw)
        if decision.writes_alias:
            self._later(self._write(alias_key(request), CachedAlias(decision.seed, self._clock())))
        key = generation_key(request, decision.seed)
        return Lookup(decision, key, kept if decision.kept_frames else None)

    async def keep_codes(self, key: Key, codes: np.ndarray, numerics: str) -> bool:
        """Keeps all of a generation's codes, int16 [K, T], where the decision says so. Returns whether it worked."""
        return await self._write(key, CachedCodes(codes, numerics, self._clock()))

    async def keep_sound(self, key: Key, sound: CachedSound) -> bool:
        """Keeps a finished file under a key of `audio_key`, in every mode but `off`. Returns whether it worked."""
        return await self._write(key, sound)

    def remembers(self, key: Key) -> bool:
        """Whether it is at hand without the store, and need not be kept again."""
        kept = self._recent.get(key)
        return kept is not None and self._lives(kept)

    def age_s(self, kept: CachedCodes | CachedSound) -> int:
        """How long ago it was made, as the header Age has it: whole seconds, not negative."""
        return max(0, int(self._clock() - kept.created_s))

    async def link(self, key: Key, expires_s: int, file_name: str) -> str | None:
        """A URL for sound that is kept, unchecked; None from a store that has none, or not now."""
        return await self._store.link(key, expires_s, file_name)

    async def close(self) -> None:
        """Ends what is on its way, within the store's time-outs, and gives back what the store holds."""
        await self.settled()
        await self._store.close()

    async def settled(self) -> None:
        """Returns when nothing is on its way to the store that a request did not wait for."""
        await asyncio.gather(*self._on_its_way)

    def _later(self, call: Coroutine[Any, Any, bool]) -> None:
        task = asyncio.create_task(call)
        self._on_its_way.add(task)
        task.add_done_callback(self._on_its_way.discard)

    async def _read(self, key: Key, num_frames: int = 0) -> Cached | None:
        """What is kept and has not expired. num_frames: wanted of codes: another replica may have kept more of them
        than this one remembers.
        """
        remembered: Cached | None = self._recent.get(key)
        if remembered is not None and not self._lives(remembered):
            self._recent.drop(key)
            remembered = None
        if remembered is not None and _frames_of(remembered) >= num_frames:
            return remembered
        packed = await self._store.get(key)
        kept = None if packed is None else await self._unpacked(key, packed)
        if kept is None or not self._lives(kept):
            return remembered
        if remembered is not None and _frames_of(remembered) >= _frames_of(kept):
            return remembered
        if not isinstance(kept, CachedAlias):
            self._recent.put(key, kept)
        return kept

    def _lives(self, kept: Cached) -> bool:
        return is_live(kept.created_s, self._clock(), self._ttl_s)

    async def _unpacked(self, key: Key, packed: Packed) -> Cached | None:
        try:
            # Summing up sound takes milliseconds, which the loop has better uses for.
            if len(packed.body) <= _LARGE_BYTES:
                return unpack(key, packed)
            return await asyncio.to_thread(unpack, key, packed)
        except NewerEntry as error:
            self.faults.count("newer entry", f"{key}: {error}")
        except BrokenEntry as error:
            self.faults.count("broken entry", f"{key}: {error}")
            self._later(self._store.delete(key))
        return None

    async def _write(self, key: Key, kept: Cached) -> bool:
        packed = await asyncio.to_thread(pack, key, kept)
        before = await self._store.get(key)
        if before is not None and is_newer(before):
            self.faults.count("newer entry", f"{key}: it is not written over")
            return False
        if not isinstance(kept, CachedAlias):
            self._recent.put(key, kept)
        return await self._store.put(key, packed)


def _frames_of(kept: Cached) -> int:
    return kept.codes.shape[1] if isinstance(kept, CachedCodes) else 0
