"""Finished files in the cache, as the ingress finds and keeps them.

The finished file of a job's variation: found in the cache, or decoded from the codes that the job has.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from deployments.messages import EngineIdentity, GenerationStart, ModelCard, MusicRequest
from serve_app.api.backends import Backend, JobsBackend, Kept, SoundFile
from serve_app.api.conditional_requests import EntityTag, entity_tag
from serve_app.api.music_response import music_headers, sound_file
from serve_app.api.requests import check_license
from serve_app.api.spool import SpooledSound
from serve_app.cache.cache import Cache
from serve_app.cache.entry import KeptSound
from serve_app.cache.keys import Key, alias_key, audio_key, generation_key
from serve_app.errors import Conflict, Gone, NotFound
from serve_app.job import ENDED, Job, Variation
from serve_app.pipeline.model_request import generation_request
from serve_app.sound.containers import ContainerFormat, container_key
from serve_app.tasks import detached


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


# About as long as a variation takes to come to something.
_RETRY_AFTER_S = 5.0


def succeeded(job: Job, number: int) -> Variation:
    """The variation of this number. Raises: NotFound where there is none; Conflict where it has no sound (yet)."""
    if number >= len(job.variations):
        raise NotFound("The generation has no variation of this number: the first is 0.")
    variation = job.variations[number]
    if variation.state not in ENDED:
        raise Conflict("The variation is not finished: follow its generation's events.", retry_after_s=_RETRY_AFTER_S)
    if variation.state == "cancelled":
        raise Conflict("The variation was cancelled, and has no sound: submit it again.")
    if variation.fault is not None:
        raise Conflict(f"The variation failed ({variation.fault.type}), and has no sound: {variation.fault.message}")
    return variation


def card_of(job: Job, cards: Sequence[ModelCard]) -> ModelCard:
    """The model that made it. Raises: Gone where it is no longer on offer; LicenseNotAccepted."""
    card = next((card for card in cards if card.name == job.request.model), None)
    if card is None:
        raise Gone("The model that made this is no longer on offer, and nothing else can decode it.")
    check_license(card)
    return card


@dataclass(frozen=True)
class VariationSound:
    """One variation that has succeeded, in one container. card: of its model. now_s: seconds since 1970."""

    job: Job
    variation: Variation
    card: ModelCard
    container: ContainerFormat
    now_s: float

    @property
    def name(self) -> tuple[str, int, str]:
        """What tells it from all others."""
        return self.job.id, self.variation.number, self.container.name

    @property
    def tag(self) -> EntityTag:
        assert self.variation.generation is not None, "what has succeeded has a key"
        return entity_tag(self.variation.generation, self.job.request.duration_ms, self.card.license, self.container)

    async def make(self, backend: Backend, jobs: JobsBackend) -> Kept:
        """The file. Raises: NotFound where the job was removed meanwhile; Gone; NotReady."""
        made = await jobs.made(self.job.tenant, self.job.id, self.variation.number)
        if made is None:
            raise NotFound("The generation was removed just now.")
        request = self._request(made.start)
        start = self._kept(made.start)
        key = container_key(self.container)
        kept = await backend.kept_sound(request, start, key)
        if kept is not None:
            return Kept(start, kept)
        composed = await backend.decode(request, made)
        file = await asyncio.to_thread(sound_file, replace(composed, start=start), self.card, self.container)
        if request.cache != "off":
            backend.keep(request, start, key, file)
        return Kept(start, file)

    def headers(self, spooled: SpooledSound) -> dict[str, str]:
        """Those of any answer that carries this sound."""
        facts = spooled.sample_rate, spooled.channels, spooled.duration_ms
        return music_headers(spooled.start, self.job.request, self.card, self.container, *facts)

    def _request(self, start: GenerationStart) -> MusicRequest:
        return replace(self.job.request, seed=start.seed)

    def _kept(self, start: GenerationStart) -> GenerationStart:
        """To whoever fetches it the music was kept, as old as its codes."""
        ended_s = self.now_s if self.variation.ended_s is None else self.variation.ended_s
        since_s = max(0, math.floor(self.now_s - ended_s))
        return replace(start, outcome="hit", age_s=(start.age_s or 0) + since_s)
