"""The HTTP answer that sends sound while it is made."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.messages import ModelCard, MusicRequest, PcmChunk
from serve_app.api.credit import Credit
from serve_app.api.errors import ClientClosedRequest
from serve_app.api.hangup import while_connected
from serve_app.api.music_answer import music_headers, tags_of
from serve_app.audio.containers import ContainerFormat
from serve_app.audio.streams import SoundStream
from serve_app.pipeline.durations import num_samples


class MusicStream(Response):
    """Takes a piece of sound, encodes it, sends it, and only then takes the next: no sound gathers here.

    Behind a proxy that says what its client has taken, it keeps as little ahead of a slow one (see `credit`).

    The answer begins with its first sound, so what fails before is an error like any other. What fails later breaks the
    answer off: it stays without its last chunk, or shorter than its Content-Length, which every client can tell.
    chunks: of the request, closed at the end. began_s: when the request came, by `time.perf_counter`.
    deadline_s: for the whole answer.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[PcmChunk, None],
        request: MusicRequest,
        card: ModelCard,
        container: ContainerFormat,
        *,
        began_s: float,
        deadline_s: float,
    ) -> None:
        super().__init__(media_type=container.media_type)
        del self.headers["Content-Length"]
        self._chunks = chunks
        self._request = request
        self._card = card
        self._container = container
        self._began_s = began_s
        self._deadline_s = deadline_s
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises: what the chunks raise; DeadlineExceeded; ClientClosedRequest if nothing was sent by then."""
        credit = Credit(scope, receive, send)
        try:
            await while_connected(self._send_all(credit.send), credit.receive, self._deadline_s)
        except ClientClosedRequest:
            if not self._started:
                raise

    async def _send_all(self, send: Send) -> None:
        async with aclosing(self._chunks) as chunks:
            first = await anext(chunks)
            stream = self._stream(first)
            sound = await asyncio.to_thread(stream.write, first.pcm)
            self.headers["Server-Timing"] = f"first;dur={1000 * (time.perf_counter() - self._began_s):.1f}"
            self._started = True
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send(_body(sound))
            async for chunk in chunks:
                sound = await asyncio.to_thread(stream.write, chunk.pcm)
                if sound:
                    await send(_body(sound))
            await send(_body(await asyncio.to_thread(stream.close), last=True))

    def _stream(self, first: PcmChunk) -> SoundStream:
        """The encoder, once the sound's rate and channels are known, and the headers that say so."""
        samples = num_samples(self._request.duration_ms, first.sample_rate)
        num_channels = len(first.pcm)
        tags = tags_of(self._request, self._card, samples, first.sample_rate)
        self.headers.update(music_headers(tags, self._request, self._container, first.sample_rate, num_channels))
        stream = SoundStream(first.sample_rate, num_channels, samples, self._container, tags)
        if stream.size_bytes is not None:
            self.headers["Content-Length"] = str(stream.size_bytes)
        return stream


def _body(sound: bytes, *, last: bool = False) -> dict[str, object]:
    return {"type": "http.response.body", "body": sound, "more_body": not last}
