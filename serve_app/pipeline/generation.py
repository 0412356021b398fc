"""One generation: the codes made so far, and the work of making the rest on whatever worker there is.

A generation outlives its workers. When one is lost, the next resumes from the same codes and text states, and makes
the same bits. It is made once for all its subscribers, and ends early when none is left.
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
from deployments.liveness.timings import TIMINGS
from deployments.messages import CodeFrames, CodeRequest, EngineIdentity, Heartbeat, QueueClass, Sampling
from serve_app.cache.keys import short_id
from serve_app.errors import DeadlineExceeded, WorkerLostTwice
from serve_app.pipeline.generation_metrics import (
    ENCODER_SILENT,
    GENERATION_GIVEN_UP,
    WORKER_LOST,
    EndedGeneration,
    GenerationOutcome,
)
from serve_app.pipeline.subscribers import FrameBuffer, Subscribers, Subscription
from serve_app.pipeline.workers import ModelStages, RetryTurns, WorkerLosses, WorkerLost, chunk_ends
from serve_app.settings.model import Deadline

_log = logging.getLogger("ray.serve.pipeline")  # below Serve's own, whose files and format it shares


@dataclass(frozen=True)
class Work:
    """What is to be made. key: the generation's, for the log and the engine; it does not depend on the length."""

    key: str
    model: str
    prompt: str
    seed: int
    sampling: Sampling
    identity: EngineIdentity


class Generation:
    """One generation and its subscribers. `join` comes before `run`.

    Args:
        work: what is to be made.
        stages: the model's deployments.
        retry_turns: the model's.
        deadline: how long the generation may take from the moment it has a slot.
        queue: whose language models make it. It moves to `realtime` when the first subscriber of that class joins.
        codes: int16 [K, n], made before; None if there are none.
        text_states: float32 [S, D], what these codes were made from; None if the prompt has to be encoded.
    """

    def __init__(
        self,
        work: Work,
        stages: ModelStages,
        retry_turns: RetryTurns,
        deadline: Deadline,
        *,
        queue: QueueClass = "realtime",
        codes: np.ndarray | None = None,
        text_states: np.ndarray | None = None,
    ) -> None:
        self.work = work
        self.queue = queue
        self.frames = FrameBuffer(codes)
        self._subscribers = Subscribers(work.key, self.frames, self._on_empty)
        self._subscribers.text_states = text_states
        self._stages = stages
        self._retry_turns = retry_turns
        self._deadline = deadline
        self._losses = WorkerLosses()
        self._running: asyncio.Task[None] | None = None
        self._admitted_s: float | None = None
        self._began_s = asyncio.get_running_loop().time()
        self._first_frame = self.frames.num_frames
        self._frame_rate = 0
        self.is_made = False
        self._placed = False
        self._moves = asyncio.Event()
        self._over = False

    @property
    def error(self) -> Exception | None:
        """What the generation failed with."""
        return self._subscribers.error

    @property
    def num_frames_left(self) -> int:
        """Frames that are wanted and not made yet."""
        return max(0, self._subscribers.num_frames_wanted - self.frames.num_frames)

    @property
    def is_placed(self) -> bool:
        """Whether an engine has it, in a slot or in its queue, or it is over."""
        return self._placed or self._over

    def join(self, num_frames: int, queue: QueueClass = "realtime") -> Subscription | None:
        """Subscribes to the first `num_frames`. Returns None when it is too late: the cache has what was made.

        queue: of the subscriber. The first of `realtime` moves the generation to that class's engines.
        """
        if self.error is not None or (self._over and num_frames > self.frames.num_frames):
            return None
        if queue == "realtime" and self.queue == "batch":
            self.queue = "realtime"
            self._moves.set()
        return self._subscribers.join(num_frames)

    async def run(self) -> None:
        """Makes what is wanted. Returns early when no subscriber is left. An error goes to the subscribers."""
        if not self._subscribers:
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
        """Stops the generation: subscribers get the frames that exist, and then this error. The first error stays."""
        self._over = True
        self._subscribers.fail(error)

    def summary(self, outcome: GenerationOutcome) -> EndedGeneration:
        """The figures of the generation, once it is over."""
        lost = self._losses.count - (outcome == "given_up")
        num_made = self.frames.num_frames - self._first_frame
        audio_s = num_made / self._frame_rate if num_made else 0.0
        waited_s = worked_s = None
        if self._admitted_s is not None:
            waited_s = self._admitted_s - self._began_s
            worked_s = asyncio.get_running_loop().time() - self._admitted_s
        return EndedGeneration(self.work.model, self.queue, outcome, audio_s, lost, waited_s, worked_s)

    def _on_empty(self) -> None:
        """Called when the last subscriber has left."""
        self._over = True
        if self._running is not None:
            self._running.cancel()

    async def _make(self) -> None:
        sound = await self._stages.sound_format()
        self._frame_rate = sound.frame_rate
        text_states = self._subscribers.text_states
        if text_states is None:
            text_states = self._subscribers.text_states = await self._encode()
        while self.frames.num_frames < self._subscribers.num_frames_wanted:
            num_frames = self._subscribers.num_frames_wanted
            deadline_s = self._deadline.seconds(num_frames / sound.frame_rate)
            request = CodeRequest(
                # A new id for each attempt: the last worker may still hold the request of the attempt before.
                request_id=f"{self.work.key[:16]}-{uuid.uuid4().hex[:8]}",
                text_states=text_states,
                num_frames=num_frames,
                seed=self.work.seed,
                sampling=self.work.sampling,
                prompt_codes=self.frames.codes() if self.frames.num_frames else None,
                chunk_ends=tuple(
                    end for end in chunk_ends(num_frames, sound.lookahead) if end > self.frames.num_frames
                ),
                identity=self.work.identity,
                priority=self._admitted_s is not None,
                queue=self.queue,
            )
            try:
                await self._take_from_worker(request, deadline_s)
            except WorkerLost as error:
                self._record_loss(error)
            finally:
                self._placed = False
        self._subscribers.start_delivery()
        self._over = self.is_made = True

    async def _encode(self) -> np.ndarray:
        while True:
            try:
                return await within(self._stages.encode(self.work.prompt), TIMINGS.encode_timeout_s)
            except asyncio.TimeoutError:
                ENCODER_SILENT.tell(_log, generation=short_id(self.work.key), patience_s=TIMINGS.encode_timeout_s)
            except WorkerLost as error:
                self._record_loss(error)

    async def _take_from_worker(self, request: CodeRequest, deadline_s: float) -> None:
        """Takes frames until the request is done, fewer are wanted, or the generation moves to another queue class.

        Raises: WorkerLost; DeadlineExceeded; what a worker raises.
        """
        async with AsyncExitStack() as stack:
            turn = await stack.enter_async_context(self._retry_turns.turn()) if self._losses.is_suspect else None
            stream = await stack.enter_async_context(aclosing(self._stages.generate(request)))
            has_answered, silence_s = False, TIMINGS.engine_first_sign_s
            while self.frames.num_frames < self._end_of(request) and request.queue == self.queue:
                left_s = self._left_s(deadline_s)
                try:
                    item = await within(self._next(stream, request.queue), min(silence_s, left_s))
                except asyncio.TimeoutError:
                    if left_s <= silence_s:
                        raise DeadlineExceeded(
                            f"The clip was not made within {deadline_s:g} s: ask for a shorter one, or later."
                        ) from None
                    if not has_answered:
                        return  # nobody took the call; the next attempt may reach another replica
                    raise WorkerLost(f"no heartbeat for {silence_s:g} s") from None
                if item is None and request.queue == self.queue:
                    raise WorkerLost("its stream ended early")
                if item is None:
                    return
                has_answered, silence_s = True, TIMINGS.engine_silence_s
                self._take(item)
                if turn is not None and not self._losses.is_suspect:
                    await turn.end()

    def _end_of(self, request: CodeRequest) -> int:
        """The last frame to make: subscribers may want fewer by now."""
        return min(request.num_frames, self._subscribers.num_frames_wanted)

    def _take(self, item: CodeFrames | Heartbeat) -> None:
        """Takes one item from a worker: frames, or a heartbeat."""
        self._placed = True
        self._subscribers.start_delivery()
        if self._admitted_s is None and (isinstance(item, CodeFrames) or item.running):
            self._admitted_s = asyncio.get_running_loop().time()
            self._subscribers.running = True
        if isinstance(item, CodeFrames):
            self.frames.append(item)
            self._losses.advance(self.frames.num_frames)
            self._subscribers.notify()

    async def _next(
        self, stream: AsyncGenerator[CodeFrames | Heartbeat, None], queue: QueueClass
    ) -> CodeFrames | Heartbeat | None:
        """Returns the next item; None at the end of the stream, or when the generation leaves this queue class."""
        if queue == "realtime":
            return await anext(stream, None)
        coming = asyncio.ensure_future(anext(stream, None))
        moving = asyncio.ensure_future(self._moves.wait())
        try:
            await asyncio.wait({coming, moving}, return_when=asyncio.FIRST_COMPLETED)
            return coming.result() if coming.done() else None
        finally:
            for each in (coming, moving):
                each.cancel()
            await asyncio.gather(coming, moving, return_exceptions=True)

    def _left_s(self, deadline_s: float) -> float:
        """The time left until the deadline, which runs from the moment the generation has a slot."""
        if self._admitted_s is None:
            return deadline_s
        return max(0.0, self._admitted_s + deadline_s - asyncio.get_running_loop().time())

    def _record_loss(self, error: WorkerLost) -> None:
        at = self.frames.num_frames
        if self._losses.record(at):
            GENERATION_GIVEN_UP.tell(_log, generation=short_id(self.work.key), num_lost=self._losses.count)
            raise WorkerLostTwice() from error
        WORKER_LOST.tell(_log, generation=short_id(self.work.key), frame=at, cause=str(error))
