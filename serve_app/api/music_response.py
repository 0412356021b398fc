"""From sound to the HTTP answer that carries it.

The HTTP answer that sends sound while it is made.
"""

from __future__ import annotations

import asyncio
import re
import string
import time
from contextlib import aclosing
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.codec_decoder.windows import num_samples
from deployments.messages import GenerationStart, ModelCard, MusicRequest, PcmChunk
from deployments.telemetry.metric import NOT_RECORDED, Recorder
from serve_app.api.backends import Backend, Composed, SoundFile
from serve_app.api.middleware.disconnects import while_connected
from serve_app.api.spool import Gathered, Gathering
from serve_app.cache.keys import short_id
from serve_app.errors import ClientClosedRequest
from serve_app.proxy.flow_control import Credit
from serve_app.sound.containers import ContainerFormat, Tags, container_key, encode
from serve_app.sound.streams import SoundStream
from serve_app.telemetry.service_metrics import FIRST_AUDIO

_HEADER_SAFE = string.punctuation + " "
_MAX_SLUG_CHARS = 48


def sound_file(composed: Composed, card: ModelCard, container: ContainerFormat) -> SoundFile:
    """Encodes the clip, which takes a while: not for an event loop."""
    clip = composed.clip
    num_channels, num_samples = clip.pcm.shape
    tags = tags_of(composed.start, card, num_samples, clip.sample_rate)
    return SoundFile(
        sound=encode(clip.pcm, clip.sample_rate, container, tags),
        media_type=container.media_type,
        sample_rate=clip.sample_rate,
        channels=num_channels,
        duration_ms=tags.duration_ms,
    )


def music_answer(
    file: SoundFile, start: GenerationStart, request: MusicRequest, card: ModelCard, container: ContainerFormat
) -> Response:
    """The file in one piece: but for what the cache says, the same answer whether it was kept or just made."""
    headers = music_headers(start, request, card, container, file.sample_rate, file.channels, file.duration_ms)
    return Response(file.sound, media_type=file.media_type, headers=headers)


def tags_of(start: GenerationStart, card: ModelCard, num_samples: int, sample_rate: int) -> Tags:
    """What the file says of itself; nothing that differs when the same is asked again."""
    return Tags(
        generation_id=generation_id(start),
        seed=start.seed,
        duration_ms=round(1000 * num_samples / sample_rate),
        model=card.name,
        license=card.license,
    )


def music_headers(
    start: GenerationStart,
    request: MusicRequest,
    card: ModelCard,
    container: ContainerFormat,
    sample_rate: int,
    num_channels: int,
    duration_ms: int,
) -> dict[str, str]:
    """The headers of an answer that carries the sound, whole or as a stream; its media type and length aside."""
    named = generation_id(start)
    headers = {
        "Content-Disposition": f'attachment; filename="{file_name(request.prompt, named, container)}"',
        "X-Generation-Id": named,
        "X-Seed": str(start.seed),
        "X-Duration-Ms": str(duration_ms),
        "X-Sample-Rate": str(sample_rate),
        "X-Channels": str(num_channels),
        "X-Model": quote(card.name, safe=_HEADER_SAFE),
        "X-Model-License": quote(card.license, safe=_HEADER_SAFE),
        "X-Cache": start.outcome,
    }
    if start.age_s is not None:
        headers["Age"] = str(start.age_s)
    return headers


def generation_id(start: GenerationStart) -> str:
    """The generation's name: see `short_id`."""
    return short_id(start.key)


def file_name(prompt: str, named: str, container: ContainerFormat) -> str:
    """The prompt's plain words, so that a folder of clips can be read, and enough of the id to tell takes apart."""
    slug = "-".join(re.findall("[a-z0-9]+", prompt.lower()))[:_MAX_SLUG_CHARS].strip("-")
    return f"{slug or 'music'}-{named[:8]}.{container.extension}"


class MusicStream(Response):
    """Takes a piece of sound, encodes it, sends it, and only then takes the next: no sound gathers here, but for what
    `gathering` has room for, which is kept when it is whole.

    Behind a proxy that says what its client has taken, it keeps as little ahead of a slow one (see `credit`).

    The answer begins with its first sound, so what fails before is an error like any other. What fails later breaks the
    answer off: it stays without its last chunk, or shorter than its Content-Length, which every client can tell.
    began_s: when the request came, by `time.perf_counter`. deadline_s: for the whole answer.
    """

    def __init__(
        self,
        backend: Backend,
        request: MusicRequest,
        card: ModelCard,
        container: ContainerFormat,
        gathering: Gathering,
        *,
        began_s: float,
        deadline_s: float,
        recorder: Recorder = NOT_RECORDED,
    ) -> None:
        super().__init__(media_type=container.media_type)
        del self.headers["Content-Length"]
        self._backend = backend
        self._request = request
        self._card = card
        self._container = container
        self._gathering = gathering
        self._began_s = began_s
        self._deadline_s = deadline_s
        self._recorder = recorder
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises: what the backend raises; DeadlineExceeded; ClientClosedRequest if nothing was sent by then."""
        credit = Credit(scope, receive, send)
        try:
            await while_connected(self._send_all(scope, credit.send), credit.receive, self._deadline_s)
        except ClientClosedRequest:
            if not self._started:
                raise

    async def _send_all(self, scope: Scope, send: Send) -> None:
        # Taken in here: between this and the block that closes the chunks, nothing can be cancelled.
        take = await self._backend.take(self._request)
        scope["state"]["generation"] = generation_id(take.start)
        async with aclosing(take.chunks) as chunks:
            first = await anext(chunks)
            samples = num_samples(self._request.duration_ms, first.sample_rate)
            tags = tags_of(take.start, self._card, samples, first.sample_rate)
            stream = SoundStream(first.sample_rate, len(first.pcm), samples, self._container, tags)
            with self._gathering.one() as gathered:
                if self._request.cache == "off":
                    gathered.give_up()
                sound = await asyncio.to_thread(stream.write, first.pcm)
                gathered.add(sound)
                await send(self._start(take.start, first, tags, stream.size_bytes))
                await send(_body(sound))
                async for chunk in chunks:
                    sound = await asyncio.to_thread(stream.write, chunk.pcm)
                    gathered.add(sound)
                    if sound:
                        await send(_body(sound))
                sound = await asyncio.to_thread(stream.close)
                gathered.add(sound)
                self._keep(gathered, take.start, first, tags)
        await send(_body(sound, last=True))

    def _start(self, start: GenerationStart, first: PcmChunk, tags: Tags, size_bytes: int | None) -> dict[str, object]:
        """The answer's first message, once the sound's rate and channels are known."""
        headers = music_headers(
            start, self._request, self._card, self._container, first.sample_rate, len(first.pcm), tags.duration_ms
        )
        self.headers.update(headers)
        if size_bytes is not None:
            self.headers["Content-Length"] = str(size_bytes)
        first_s = time.perf_counter() - self._began_s
        self._recorder.observe(FIRST_AUDIO, first_s, model=self._card.name, cache=start.outcome)
        self.headers["Server-Timing"] = f"first;dur={1000 * first_s:.1f}"
        self._started = True
        return {"type": "http.response.start", "status": 200, "headers": self.raw_headers}

    def _keep(self, gathered: Gathered, start: GenerationStart, first: PcmChunk, tags: Tags) -> None:
        sound = gathered.whole()
        if sound is not None:
            file = SoundFile(sound, self._container.media_type, first.sample_rate, len(first.pcm), tags.duration_ms)
            self._backend.keep(self._request, start, container_key(self._container, streamed=True), file)


def _body(sound: bytes, *, last: bool = False) -> dict[str, object]:
    return {"type": "http.response.body", "body": sound, "more_body": not last}
