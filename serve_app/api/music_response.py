"""Music as an HTTP response: a finished file in one piece, or a stream that is sent while the music is made.

A stream's pieces are also buffered, within a limit for all streams, so that the whole file can be cached at its end.
"""

from __future__ import annotations

import asyncio
import re
import string
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.codec_decoder.windows import num_samples
from deployments.messages import GenerationStart, ModelCard, MusicRequest, PcmChunk
from deployments.telemetry.metric import NOT_RECORDED, Recorder
from serve_app.api.backends import Backend, ComposedMusic, SoundFile
from serve_app.api.middleware.disconnects import while_connected
from serve_app.cache.keys import short_id
from serve_app.errors import ClientClosedRequest
from serve_app.proxy.flow_control import CreditWindow
from serve_app.sound.containers import ContainerFormat, Tags, container_key, encode
from serve_app.sound.streams import SoundStream
from serve_app.telemetry.service_metrics import FIRST_AUDIO

_HEADER_SAFE = string.punctuation + " "
_MAX_SLUG_CHARS = 48


def sound_file(composed: ComposedMusic, card: ModelCard, container: ContainerFormat) -> SoundFile:
    """Encodes the clip. It takes a while, so it is not for an event loop."""
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


def music_file_response(
    file: SoundFile, start: GenerationStart, request: MusicRequest, card: ModelCard, container: ContainerFormat
) -> Response:
    """The file in one piece; the same answer for a cached file and a new one, but for the cache headers."""
    headers = music_headers(start, request, card, container, file.sample_rate, file.channels, file.duration_ms)
    return Response(file.sound, media_type=file.media_type, headers=headers)


def tags_of(start: GenerationStart, card: ModelCard, num_samples: int, sample_rate: int) -> Tags:
    """The tags inside the file; nothing that differs when the same request is sent again."""
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
    """The headers of an answer that carries the sound, whole or as a stream, but for its media type and length."""
    id_ = generation_id(start)
    headers = {
        "Content-Disposition": f'attachment; filename="{file_name(request.prompt, id_, container)}"',
        "X-Generation-Id": id_,
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
    """The generation's id in headers and logs; see `short_id`."""
    return short_id(start.key)


def file_name(prompt: str, generation: str, container: ContainerFormat) -> str:
    """The prompt's plain words, so that a folder of clips can be read, and enough of the id to tell clips apart."""
    slug = "-".join(re.findall("[a-z0-9]+", prompt.lower()))[:_MAX_SLUG_CHARS].strip("-")
    return f"{slug or 'music'}-{generation[:8]}.{container.extension}"


class StreamBufferPool:
    """The memory that all streams of a process share. For one event loop.

    Attributes:
        max_bytes: of all buffers together; 0 buffers nothing.
        size_bytes: of all buffers now.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._open: set[StreamBuffer] = set()

    @contextmanager
    def open(self) -> Iterator[StreamBuffer]:
        """A new buffer; its memory is freed when the block is left, whichever way."""
        buffer = StreamBuffer(self)
        self._open.add(buffer)
        try:
            yield buffer
        finally:
            buffer.give_up()
            self._open.remove(buffer)

    def check_integrity(self) -> None:
        """Raises: AssertionError where the count is wrong or over the limit."""
        assert self.size_bytes == sum(buffer.size_bytes for buffer in self._open)
        assert self.size_bytes <= self.max_bytes


class StreamBuffer:
    """One stream's pieces. It frees them, and buffers no more, at the first piece for which the pool has no room.

    Attributes:
        size_bytes: of its pieces.
    """

    def __init__(self, pool: StreamBufferPool) -> None:
        self.size_bytes = 0
        self._pool = pool
        self._pieces: list[bytes] | None = []

    def add(self, piece: bytes) -> None:
        """Buffers the next piece, unless it has given up."""
        if self._pieces is None:
            return
        if self._pool.size_bytes + len(piece) > self._pool.max_bytes:
            self.give_up()
            return
        self._pieces.append(piece)
        self._count(len(piece))

    def whole(self) -> bytes | None:
        """All pieces joined, after the last was added; None if it gave up."""
        return None if self._pieces is None else b"".join(self._pieces)

    def give_up(self) -> None:
        """Frees the pieces and buffers no more. Calling it twice does no harm."""
        self._pieces = None
        self._count(-self.size_bytes)

    def _count(self, num_bytes: int) -> None:
        self.size_bytes += num_bytes
        self._pool.size_bytes += num_bytes


class StreamingMusicResponse(Response):
    """Takes a piece of sound, encodes it, sends it, and only then takes the next, within the client's credit window.

    What it has sent is also buffered, as far as `buffers` has room, and cached once it is whole.

    The answer begins with its first sound, so a failure before that is an error like any other. A later failure breaks
    the answer off: it ends without its last chunk, or shorter than its Content-Length, which every client can tell.

    Args:
        began_s: when the request came, by `time.perf_counter`.
        deadline_s: for the whole answer.
    """

    def __init__(
        self,
        backend: Backend,
        request: MusicRequest,
        card: ModelCard,
        container: ContainerFormat,
        buffers: StreamBufferPool,
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
        self._buffers = buffers
        self._began_s = began_s
        self._deadline_s = deadline_s
        self._recorder = recorder
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises: as the backend; DeadlineExceeded; ClientClosedRequest if nothing was sent before."""
        window = CreditWindow(scope, receive, send)
        try:
            await while_connected(self._send_all(scope, window.send), window.receive, self._deadline_s)
        except ClientClosedRequest:
            if not self._started:
                raise

    async def _send_all(self, scope: Scope, send: Send) -> None:
        # No await between this and the block that closes the chunks: nothing can be cancelled there.
        music = await self._backend.stream(self._request)
        scope["state"]["generation"] = generation_id(music.start)
        async with aclosing(music.chunks) as chunks:
            first = await anext(chunks)
            samples = num_samples(self._request.duration_ms, first.sample_rate)
            tags = tags_of(music.start, self._card, samples, first.sample_rate)
            stream = SoundStream(first.sample_rate, len(first.pcm), samples, self._container, tags)
            with self._buffers.open() as buffer:
                if self._request.cache == "off":
                    buffer.give_up()
                sound = await asyncio.to_thread(stream.write, first.pcm)
                buffer.add(sound)
                await send(self._start(music.start, first, tags, stream.size_bytes))
                await send(_body(sound))
                async for chunk in chunks:
                    sound = await asyncio.to_thread(stream.write, chunk.pcm)
                    buffer.add(sound)
                    if sound:
                        await send(_body(sound))
                sound = await asyncio.to_thread(stream.close)
                buffer.add(sound)
                self._cache(buffer, music.start, first, tags)
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

    def _cache(self, buffer: StreamBuffer, start: GenerationStart, first: PcmChunk, tags: Tags) -> None:
        sound = buffer.whole()
        if sound is not None:
            file = SoundFile(sound, self._container.media_type, first.sample_rate, len(first.pcm), tags.duration_ms)
            self._backend.store(self._request, start, container_key(self._container, streamed=True), file)


def _body(sound: bytes, *, last: bool = False) -> dict[str, object]:
    return {"type": "http.response.body", "body": sound, "more_body": not last}
