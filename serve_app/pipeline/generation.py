"""One generation: the codes made so far, and whatever it takes to make the rest, wherever there is a worker.

It outlives its workers: when one is lost, the next goes on from these codes and text states, and makes the same bits.
It is made once for all who listen, each from the beginning and as far as it asked; it ends early when nobody is left.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

import numpy as np

from deployments.liveness.stalls import within
from deployments.messages import Beat, CodeFrames, CodeRequest, EngineIdentity, QueueClass, Sampling
from serve_app.cache.keys import short_id
from serve_app.errors import DeadlineExceeded, WorkerLostTwice
from serve_app.pipeline.generation_metrics import ENCODER_SILENT, GENERATION_GIVEN_UP, WORKER_LOST, Ended, EndedAs
from serve_app.pipeline.subscribers import Audience, Frames, Ticket
from serve_app.pipeline.workers import Losses, Stages, Suspects, WorkerLost, chunk_ends
from serve_app.settings.model import Deadline

# A worker that has shown that it is there gives up by itself after 5 s without a sign of life (`language_model.pulse`).
SILENCE_S = 7.0
# One that hasn't may be held up before it takes the call; another is asked then, or the same one again.
FIRST_SIGN_S = 5.0
# Encoding a text takes milliseconds, and waiting for it is no work lost.
ENCODE_S = 30.0

_log = logging.getLogger("ray.serve.pipeline")  # below Serve's own, whose files and format it shares


@dataclass(frozen=True)
class Work:
    """What is to be made. key: of the generation, for the log and the engine; no two differ in all but their length."""

    key: str
    model: str
    prompt: str
    seed: int
    sampling: Sampling
    identity: EngineIdentity


class Generation:
    """codes: int16 [K, n], made before, and text_states: float32 [S, D], with which they were; None: there are none.

    `join` before `run`. suspects: of the model. queue: whose language models make it; once somebody waits for it, those
    of `realtime`.
    """

    def __init__(
        self,
        work: Work,
        stages: Stages,
        suspects: Suspects,
        deadline: Deadline,
        *,
        queue: QueueClass = "realtime",
        codes: np.ndarray | None = None,
        text_states: np.ndarray | None = None,
    ) -> None:
        self.work = work
        self.queue = queue
        self.frames = Frames(codes)
        self._audience = Audience(work.key, self.frames, self._give_up)
        self._audience.text_states = text_states
        self._stages = stages
        self._suspects = suspects
        self._deadline = deadline
        self._losses = Losses()
        self._running: asyncio.Task[None] | None = None
        self._admitted_s: float | None = None
        self._began_s = asyncio.get_running_loop().time()
        self._first_frame = self.frames.number
        self._frame_rate = 0
        self.is_made = False
        self._placed = False
        self._moved = asyncio.Event()
        self._over = False

    @property
    def error(self) -> Exception | None:
        """What it failed with."""
        return self._audience.error

    @property
    def num_frames_left(self) -> int:
        """That are wanted and not made yet."""
        return max(0, self._audience.num_wanted - self.frames.number)

    @property
    def is_placed(self) -> bool:
        """Whether an engine has it, in a slot or waiting for one."""
        return self._placed or self._over

    def join(self, num_frames: int, queue: QueueClass = "realtime") -> Ticket | None:
        """A place to hear the first num_frames from; None when it is too late: who asks again finds what was made.

        queue: of who asks. With the first of `realtime` it moves to engines that are there for those who wait.
        """
        if self.error is not None or (self._over and num_frames > self.frames.number):
            return None
        if queue == "realtime" and self.queue == "batch":
            self.queue = "realtime"
            self._moved.set()
        return self._audience.join(num_frames)

    async def run(self) -> None:
        """Makes what is wanted. Returns early when nobody listens any more; an error is for those who do."""
        if not self._audience:
            self._over = True
            return
        self._running = asyncio.ensure_future(self._make())
        try:
            await asyncio.wait({self._running})
        finally:
            self._over = True
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        error = None if self._running.cancelled() else self._running.exception()
        if isinstance(error, Exception):
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Nothing more is made; whoever listens gets what there is, and then this. The first one stays."""
        self._over = True
        self._audience.fail(error)

    def ended(self, outcome: EndedAs) -> Ended:
        """What there is to tell of it, now that it is over."""
        lost = self._losses.number - (outcome == "given_up")
        num_made = self.frames.number - self._first_frame
        audio_s = num_made / self._frame_rate if num_made else 0.0
        waited_s = worked_s = None
        if self._admitted_s is not None:
            waited_s = self._admitted_s - self._began_s
            worked_s = asyncio.get_running_loop().time() - self._admitted_s
        return Ended(self.work.model, self.queue, outcome, audio_s, lost, waited_s, worked_s)

    def _give_up(self) -> None:
        """Nobody listens any more."""
        self._over = True
        if self._running is not None:
            self._running.cancel()

    async def _make(self) -> None:
        sound = await self._stages.sound_format()
        self._frame_rate = sound.frame_rate
        text_states = self._audience.text_states
        if text_states is None:
            text_states = self._audience.text_states = await self._encode()
        while self.frames.number < self._audience.num_wanted:
            num_frames = self._audience.num_wanted
            deadline_s = self._deadline.seconds(num_frames / sound.frame_rate)
            request = CodeRequest(
                # Another one each time: the last worker may still have a request of the same name.
                request_id=f"{self.work.key[:16]}-{uuid.uuid4().hex[:8]}",
                text_states=text_states,
                num_frames=num_frames,
                seed=self.work.seed,
                sampling=self.work.sampling,
                prompt_codes=self.frames.all() if self.frames.number else None,
                chunk_ends=tuple(end for end in chunk_ends(num_frames, sound.lookahead) if end > self.frames.number),
                identity=self.work.identity,
                priority=self._admitted_s is not None,
                queue=self.queue,
            )
            try:
                await self._take_from_worker(request, deadline_s)
            except WorkerLost as error:
                self._lost(error)
            finally:
                self._placed = False
        self._audience.accept()
        self._over = self.is_made = True

    async def _encode(self) -> np.ndarray:
        while True:
            try:
                return await within(self._stages.encode(self.work.prompt), ENCODE_S)
            except asyncio.TimeoutError:
                ENCODER_SILENT.tell(_log, generation=short_id(self.work.key), patience_s=ENCODE_S)
            except WorkerLost as error:
                self._lost(error)

    async def _take_from_worker(self, request: CodeRequest, deadline_s: float) -> None:
        """Until the request is done, less is wanted, or it moves. Raises: WorkerLost; DeadlineExceeded; what a worker
        raises.
        """
        async with AsyncExitStack() as stack:
            turn = await stack.enter_async_context(self._suspects.turn()) if self._losses.suspicious else None
            stream = await stack.enter_async_context(aclosing(self._stages.generate(request)))
            silence_s = FIRST_SIGN_S
            while self.frames.number < self._end_of(request) and request.queue == self.queue:
                left_s = self._left_s(deadline_s)
                try:
                    item = await within(self._next(stream, request.queue), min(silence_s, left_s))
                except asyncio.TimeoutError:
                    if left_s <= silence_s:
                        raise DeadlineExceeded(
                            f"The clip was not made within {deadline_s:g} s: ask for a shorter one, or later."
                        ) from None
                    if silence_s == FIRST_SIGN_S:
                        return  # nobody took the call; the next one finds who does
                    raise WorkerLost(f"no sign of life for {silence_s:g} s") from None
                if item is None and request.queue == self.queue:
                    raise WorkerLost("its stream ended early")
                if item is None:
                    return
                silence_s = SILENCE_S
                self._take(item)
                if turn is not None and not self._losses.suspicious:
                    await turn.end()

    def _end_of(self, request: CodeRequest) -> int:
        """Where it ends: some may want less by now."""
        return min(request.num_frames, self._audience.num_wanted)

    def _take(self, item: CodeFrames | Beat) -> None:
        """A worker's sign that it is there, and what it has made."""
        self._placed = True
        self._audience.accept()
        if self._admitted_s is None and (isinstance(item, CodeFrames) or item.running):
            self._admitted_s = asyncio.get_running_loop().time()
            self._audience.running = True
        if isinstance(item, CodeFrames):
            self.frames.append(item)
            self._losses.reached(self.frames.number)
            self._audience.tell()

    async def _next(
        self, stream: AsyncGenerator[CodeFrames | Beat, None], queue: QueueClass
    ) -> CodeFrames | Beat | None:
        """The next item; None at the end of the stream, or when the generation leaves this queue class."""
        if queue == "realtime":
            return await anext(stream, None)
        coming = asyncio.ensure_future(anext(stream, None))
        moving = asyncio.ensure_future(self._moved.wait())
        try:
            await asyncio.wait({coming, moving}, return_when=asyncio.FIRST_COMPLETED)
            return coming.result() if coming.done() else None
        finally:
            for each in (coming, moving):
                each.cancel()
            await asyncio.gather(coming, moving, return_exceptions=True)

    def _left_s(self, deadline_s: float) -> float:
        """Of the time there is, which begins with a slot."""
        if self._admitted_s is None:
            return deadline_s
        return max(0.0, self._admitted_s + deadline_s - asyncio.get_running_loop().time())

    def _lost(self, error: WorkerLost) -> None:
        at = self.frames.number
        if self._losses.lost(at):
            GENERATION_GIVEN_UP.tell(_log, generation=short_id(self.work.key), num_lost=self._losses.number)
            raise WorkerLostTwice() from error
        WORKER_LOST.tell(_log, generation=short_id(self.work.key), frame=at, cause=str(error))
