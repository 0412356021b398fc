"""Things to keep, and the plainest store there is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np

from deployments.messages import Sampling
from serve_app.cache.cache import Cache, RecentEntries, drawn_seed
from serve_app.cache.entry import CachedSound, Packed
from serve_app.cache.keys import GenerationRequest, Key, Kind, ModelIdentity
from serve_app.faults import Faults
from serve_app.stores.circuit_breaker import GuardedStore
from serve_app.stores.store import BlockingStore
from serve_app.stores.threads import ThreadedStore

MODEL = ModelIdentity(name="tiny", revision="ab" * 20, numerics="x86_64 torch 2.13 float32", vocab_size=2048)
REQUEST = GenerationRequest(scope="everyone", model=MODEL, prompt="a slow blues", sampling=Sampling())


def key(name: object, kind: Kind = "codes") -> Key:
    """A key that `name` stands for."""
    return Key(kind, hashlib.sha256(repr(name).encode()).hexdigest())


def packed(body: bytes, head: bytes = b"head") -> Packed:
    """An entry to a store, which knows nothing of what it means; its head says how long it is, as every one does."""
    size = (len(head) + 8).to_bytes(2, "big")
    return Packed(b"MGSe\0\1" + size + head, body)


def codes_of(request: GenerationRequest, seed: int, num_frames: int) -> np.ndarray:
    """int16 [4, T]: what the model would make; the first frames are the same for every length."""
    words = f"{request.scope} {request.prompt} {seed}".encode()
    frames = [hashlib.sha256(words + str(frame).encode()).digest()[:8] for frame in range(num_frames)]
    return np.frombuffer(b"".join(frames), np.uint8).reshape(-1, 4, 2)[:, :, 0].T.astype(np.int16)


def sound_of(codes: np.ndarray, created_s: float) -> CachedSound:
    """A file that could be the codes'."""
    return CachedSound(codes.tobytes(), "audio/wav", 32_000, 1, 20 * codes.shape[1], created_s)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self, now_s: float = 1_700_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class InMemory:
    """A dictionary: what every store is compared with."""

    def __init__(self) -> None:
        self.entries: dict[Key, Packed] = {}

    def get(self, key: Key) -> Packed | None:
        return self.entries.get(key)

    def put(self, key: Key, entry: Packed) -> None:
        self.entries[key] = entry

    def delete(self, key: Key) -> None:
        self.entries.pop(key, None)

    def link(self, key: Key, expires_s: int, file_name: str) -> str | None:
        del key, expires_s, file_name
        return None

    def close(self) -> None:
        self.entries.clear()


async def with_cache(
    store: BlockingStore,
    test: Callable[[Cache], Coroutine[Any, Any, None]],
    *,
    clock: Callable[[], float] | None = None,
    breaker_clock: Callable[[], float] | None = None,
    draw: Callable[[], int] = drawn_seed,
    ttl_s: float | None = 86_400.0,
    memory_bytes: int = 0,
    timeout_s: float = 30.0,
    num_threads: int = 4,
) -> None:
    """Runs the test with a cache of the store, and closes it."""
    faults = Faults(breaker_clock or Clock())
    threaded = ThreadedStore(store, num_threads=num_threads, read_timeout_s=timeout_s, write_timeout_s=timeout_s)
    guarded = GuardedStore(threaded, faults, clock=breaker_clock or Clock(), jitter=lambda: 0.0)
    cache = Cache(guarded, RecentEntries(memory_bytes), faults, ttl_s=ttl_s, clock=clock or Clock(), draw=draw)
    try:
        await test(cache)
    finally:
        await cache.close()
