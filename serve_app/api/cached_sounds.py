"""Finished files in the cache: how the ingress finds and stores them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from deployments.messages import EngineIdentity, GenerationStart, MusicRequest
from serve_app.api.backends import CachedFile, SoundFile
from serve_app.cache.cache import Cache
from serve_app.cache.entry import CachedSound
from serve_app.cache.keys import Key, alias_key, audio_key, generation_key
from serve_app.pipeline.finder import generation_request
from serve_app.tasks import detached


class CachedSounds:
    """The cache of finished files.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, cache: Cache, clock: Callable[[], float] = time.time) -> None:
        self._cache = cache
        self._clock = clock
        self._storing: dict[Key, asyncio.Task[bool]] = {}

    async def find(self, request: MusicRequest, identity: EngineIdentity, container: str) -> CachedFile | None:
        """The cached file for a request whose cache mode is `use`."""
        asked = generation_request(request, identity)
        seed = await self._cache.seed_for(asked, request.cache, request.seed)
        if seed is None:
            return None
        key = generation_key(asked, seed)
        cached = await self._cache.sound(audio_key(key, request.duration_ms, container, None))
        if cached is None:
            return None
        return CachedFile(GenerationStart(key.digest, seed, "hit", identity, self._cache.age_s(cached)), _file(cached))

    async def find_generation(self, request: MusicRequest, start: GenerationStart, container: str) -> SoundFile | None:
        """The cached file of a known generation, in every cache mode but `off`."""
        if request.cache == "off":
            return None
        key = audio_key(Key("codes", start.key), request.duration_ms, container, None)
        cached = await self._cache.sound(key)
        return None if cached is None else _file(cached)

    def store(self, request: MusicRequest, start: GenerationStart, container: str, file: SoundFile) -> None:
        """Stores a finished file in the background, in every cache mode but `off`; once for all concurrent requests."""
        if request.cache == "off":
            return
        key = audio_key(Key("codes", start.key), request.duration_ms, container, None)
        if key in self._storing or (start.outcome == "joined" and self._cache.remembers(key)):
            return
        # It is as old as its codes, and expires with them.
        created_s = self._clock() - (start.age_s or 0)
        cached = CachedSound(file.sound, file.media_type, file.sample_rate, file.channels, file.duration_ms, created_s)
        task = detached(self._cache.keep_sound(key, cached))
        self._storing[key] = task
        task.add_done_callback(lambda _: self._storing.pop(key))

    async def settled(self) -> None:
        """Returns when no file is being stored any more."""
        while self._storing:
            await asyncio.wait(self._storing.values())

    def affinity(self, request: MusicRequest, identity: EngineIdentity) -> str:
        """Requests with the same affinity should go to one pipeline replica, where they join one generation."""
        if request.cache == "off":
            return request.request_id
        asked = generation_request(request, identity)
        return str(alias_key(asked) if request.seed is None else generation_key(asked, request.seed))


def _file(cached: CachedSound) -> SoundFile:
    return SoundFile(cached.sound, cached.media_type, cached.sample_rate, cached.channels, cached.duration_ms)
