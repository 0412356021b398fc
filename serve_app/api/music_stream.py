"""The HTTP answer that sends sound while it is made."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.messages import GenerationStart, ModelCard, MusicRequest, PcmChunk
from deployments.metrics.catalogue import FIRST_AUDIO
from deployments.metrics.recorder import NOT_RECORDED, Recorder
from serve_app.api.backend import Backend, SoundFile
from serve_app.api.container_key import container_key
from serve_app.api.credit import Credit
from serve_app.api.errors import ClientClosedRequest
from serve_app.api.gathering import Gathered, Gathering
from serve_app.api.hangup import while_connected
from serve_app.api.music_answer import generation_id, music_headers, tags_of
from serve_app.audio.containers import ContainerFormat, Tags
from serve_app.audio.streams import SoundStream
from serve_app.pipeline.durations import num_samples


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
