"""Finished files in the cache, as the ingress finds and keeps them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from deployments.messages import EngineIdentity, GenerationStart, MusicRequest
from serve_app.api.backend import Kept, SoundFile
from serve_app.cache.cache import Cache
from serve_app.cache.entry import KeptSound
from serve_app.cache.keys import Key, alias_key, audio_key, generation_key
from serve_app.detached import detached
from serve_app.pipeline.asked import generation_request


class KeptSounds:
    """clock: seconds since 1970."""

    def __init__(self, cache: Cache, clock: Callable[[], float] = time.time) -> None:
        self._cache = cache
        self._clock = clock
        self._keeping: dict[Key, asyncio.Task[bool]] = {}

    async def find(self, request: MusicRequest, identity: EngineIdentity, container: str) -> Kept | None:
        """The file kept for a request in mode `use`."""
        asked = generation_request(request, identity)
        seed = await self._cache.seed_for(asked, request.cache, request.seed)
        if seed is None:
            return None
        key = generation_key(asked, seed)
        kept = await self._cache.sound(audio_key(key, request.duration_ms, container, None))
        if kept is None:
            return None
        return Kept(GenerationStart(key.digest, seed, "hit", identity, self._cache.age_s(kept)), _file(kept))

    async def find_made(self, request: MusicRequest, start: GenerationStart, container: str) -> SoundFile | None:
        """The file kept of a generation that is known, in every mode but `off`."""
        if request.cache == "off":
            return None
        key = audio_key(Key("codes", start.key), request.duration_ms, container, None)
        kept = await self._cache.sound(key)
        return None if kept is None else _file(kept)

    def keep(self, request: MusicRequest, start: GenerationStart, container: str, file: SoundFile) -> None:
        """Keeps a finished file beside everything else, in every mode but `off`; once for all who have it just now."""
        if request.cache == "off":
            return
        key = audio_key(Key("codes", start.key), request.duration_ms, container, None)
        if key in self._keeping or (start.outcome == "joined" and self._cache.remembers(key)):
            return
        # It is as old as its codes, and goes with them.
        created_s = self._clock() - (start.age_s or 0)
        kept = KeptSound(file.sound, file.media_type, file.sample_rate, file.channels, file.duration_ms, created_s)
        task = detached(self._cache.keep_sound(key, kept))
        self._keeping[key] = task
        task.add_done_callback(lambda _: self._keeping.pop(key))

    async def settled(self) -> None:
        """Returns when nothing is on its way to the store."""
        while self._keeping:
            await asyncio.wait(self._keeping.values())

    def affinity(self, request: MusicRequest, identity: EngineIdentity) -> str:
        """Requests that are alike here should go to one pipeline replica: there they join."""
        if request.cache == "off":
            return request.request_id
        asked = generation_request(request, identity)
        return str(alias_key(asked) if request.seed is None else generation_key(asked, request.seed))


def _file(kept: KeptSound) -> SoundFile:
    return SoundFile(kept.sound, kept.media_type, kept.sample_rate, kept.channels, kept.duration_ms)
