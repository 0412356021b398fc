"""The file of a job's variation: found in the cache or decoded, its entity tag and byte ranges, and the HTTP response.

Entity tags are those of RFC 9110, sections 8.8.3 and 13.1; ranges those of section 14. Starlette's FileResponse is not
used: it answers a range that it can't read with 400 in plain text instead of the whole file, and needs a file's name.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

import soundfile
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.messages import GenerationStart, ModelCard, MusicRequest
from serve_app.api.backends import Backend, CachedFile, JobsBackend
from serve_app.api.finished_files import Spool, SpooledSound
from serve_app.api.middleware.connection import while_connected
from serve_app.api.music_response import music_headers, sound_file
from serve_app.api.requests import check_license
from serve_app.errors import ClientClosedRequest, Conflict, Gone, NotFound, RangeNotSatisfiable
from serve_app.job import ENDED, Job, Variation
from serve_app.proxy.flow_control import CreditWindow
from serve_app.sound.containers import ContainerFormat, container_key

# A Vorbis stream has a random serial number: the same sound has other bytes each time.
_UNREPEATABLE = frozenset({"ogg"})
_OPAQUE = re.compile(r'"([\x21\x23-\x7e\x80-\xff]*)"')


@dataclass(frozen=True)
class EntityTag:
    """An entity tag.

    Attributes:
        opaque: its text, without the quotes.
        weak: two files with this tag sound alike, and their bytes may differ.
    """

    opaque: str
    weak: bool

    def __str__(self) -> str:
        return f'W/"{self.opaque}"' if self.weak else f'"{self.opaque}"'

    def is_among(self, if_none_match: str | None) -> bool:
        """Whether the client has the file, by the weak comparison. if_none_match: all values, joined by commas."""
        if if_none_match is None:
            return False
        return if_none_match.strip() == "*" or self.opaque in _OPAQUE.findall(if_none_match)

    def continues(self, if_range: str | None) -> bool:
        """Whether a part of this file fits what the client has, by the strong comparison; it does without If-Range."""
        return not self.weak and (if_range is None or if_range.strip() == str(self))


def entity_tag(generation: str, duration_ms: int, license_id: str, container: ContainerFormat) -> EntityTag:
    """The tag of a finished file, from everything that determines its bytes; so it is known before the file is made.

    Args:
        generation: the key of its music, which covers the model.
        license_id: as in the file's own tags.
    """
    inputs = (generation, str(duration_ms), license_id, container.name, soundfile.__libsndfile_version__)
    digest = hashlib.sha256("\n".join(inputs).encode()).hexdigest()
    return EntityTag(digest[:32], weak=container.name in _UNREPEATABLE)


# Enough for two numbers of 20 digits. A longer header is ignored, so that none takes long to read.
_MAX_CHARS = 64
_ONE_RANGE = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)


def requested_range(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """The range as (first, end), `end` excluded; None for the whole file.

    A header that can't be read, or that asks for several ranges, gets the whole file, as the RFC allows.

    Args:
        header: all values of `Range`, joined by commas.
        size_bytes: of the whole file, above 0.

    Raises:
        RangeNotSatisfiable: the range contains no byte of the file.
    """
    if header is None or len(header) > _MAX_CHARS:
        return None
    match = _ONE_RANGE.fullmatch(header)
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        last_bytes = int(match[2])
        if last_bytes == 0:
            raise _not_satisfiable(size_bytes)
        return max(0, size_bytes - last_bytes), size_bytes
    first = int(match[1])
    end = int(match[2]) + 1 if match[2] else size_bytes
    if end <= first and match[2]:
        return None  # last before first: not a range at all
    if first >= size_bytes:
        raise _not_satisfiable(size_bytes)
    return first, min(end, size_bytes)


def _not_satisfiable(size_bytes: int) -> RangeNotSatisfiable:
    return RangeNotSatisfiable(
        "The range has no byte of the file: ask for one that begins before its end.", size_bytes=size_bytes
    )


# About as long as a variation takes to make progress.
_RETRY_AFTER_S = 5.0


def succeeded_variation(job: Job, number: int) -> Variation:
    """The variation of this number. Raises: NotFound if there is none; Conflict if it has no sound (yet)."""
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
    """The model that made the job. Raises: Gone if it is no longer served; LicenseNotAccepted."""
    card = next((card for card in cards if card.name == job.request.model), None)
    if card is None:
        raise Gone("The model that made this is no longer on offer, and nothing else can decode it.")
    check_license(card)
    return card


@dataclass(frozen=True)
class VariationSound:
    """One variation that has succeeded, in one container.

    Attributes:
        card: of its model.
        now_s: seconds since 1970.
    """

    job: Job
    variation: Variation
    card: ModelCard
    container: ContainerFormat
    now_s: float

    @property
    def name(self) -> tuple[str, int, str]:
        """Identifies it in the spool."""
        return self.job.id, self.variation.number, self.container.name

    @property
    def tag(self) -> EntityTag:
        assert self.variation.generation is not None, "a variation that has succeeded has a key"
        return entity_tag(self.variation.generation, self.job.request.duration_ms, self.card.license, self.container)

    async def make(self, backend: Backend, jobs: JobsBackend) -> CachedFile:
        """Finds or decodes the file. Raises: NotFound if the job was removed meanwhile; Gone; NotReady."""
        made = await jobs.made(self.job.tenant, self.job.id, self.variation.number)
        if made is None:
            raise NotFound("The generation was removed just now.")
        request = self._request(made.start)
        start = self._as_hit(made.start)
        key = container_key(self.container)
        cached = await backend.cached_file(request, start, key)
        if cached is not None:
            return CachedFile(start, cached)
        composed = await backend.decode(request, made)
        file = await asyncio.to_thread(sound_file, replace(composed, start=start), self.card, self.container)
        if request.cache != "off":
            backend.store(request, start, key, file)
        return CachedFile(start, file)

    def headers(self, spooled: SpooledSound) -> dict[str, str]:
        """The headers of any answer that carries this sound."""
        facts = spooled.sample_rate, spooled.channels, spooled.duration_ms
        return music_headers(spooled.start, self.job.request, self.card, self.container, *facts)

    def _request(self, start: GenerationStart) -> MusicRequest:
        return replace(self.job.request, seed=start.seed)

    def _as_hit(self, start: GenerationStart) -> GenerationStart:
        """To the client that fetches it the music is a cache hit, as old as its codes."""
        ended_s = self.now_s if self.variation.ended_s is None else self.variation.ended_s
        since_s = max(0, math.floor(self.now_s - ended_s))
        return replace(start, outcome="hit", age_s=(start.age_s or 0) + since_s)


class AudioFileResponse(Response):
    """Opens the file, makes it if need be, and sends it piece by piece, as fast as the client takes them.

    Only the piece that is being sent is in memory. A client that stalls (see `CreditWindow`) is dropped, and may go on
    with a range.

    Args:
        range_header: the values of the request's header `Range`, joined; None for the whole.
    """

    def __init__(
        self,
        spool: Spool,
        sound: VariationSound,
        make: Callable[[], Awaitable[CachedFile]],
        *,
        range_header: str | None,
        deadline_s: float,
    ) -> None:
        super().__init__(media_type=sound.container.media_type)
        self._spool = spool
        self._sound = sound
        self._make = make
        self._range_header = range_header
        self._deadline_s = deadline_s
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises: as `make`; RangeNotSatisfiable; DeadlineExceeded; ClientClosedRequest if nothing was sent before."""
        window = CreditWindow(scope, receive, send)
        try:
            sending = self._send_all(window.send, with_body=scope["method"] != "HEAD")
            await while_connected(sending, window.receive, self._deadline_s)
        except ClientClosedRequest:
            if not self._started:
                raise

    async def _send_all(self, send: Send, *, with_body: bool) -> None:
        async with self._spool.reading(self._sound.name, self._make) as spooled:
            part = requested_range(self._range_header, spooled.size_bytes)
            first, end = part or (0, spooled.size_bytes)
            if part is not None:
                self.status_code = 206
                self.headers["Content-Range"] = f"bytes {first}-{end - 1}/{spooled.size_bytes}"
            self.headers.update(self._sound.headers(spooled))
            self.headers.update(file_headers(self._sound.tag))
            self.headers["Content-Length"] = str(end - first)
            self._started = True
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with aclosing(spooled.pieces(first, end if with_body else first)) as pieces:
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def file_headers(tag: EntityTag) -> Mapping[str, str]:
    """The caching headers of a file. A weak tag allows no ranges: parts of different bytes don't fit together."""
    return {
        "ETag": str(tag),
        "Accept-Ranges": "none" if tag.weak else "bytes",
        "Cache-Control": "private, no-cache",
    }
