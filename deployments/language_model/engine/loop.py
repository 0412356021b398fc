"""The engine's thread, and the async interface to it.

The step loop has a thread of its own, so that the replica's event loop answers health checks while it computes.
Everything that touches the engine runs in that thread, as commands in their order.
"""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from deployments.batching import BATCH_SIZE
from deployments.language_model.engine import ENGINE_LAPSED, ENGINE_REFUSED
from deployments.language_model.engine.engine import Engine
from deployments.language_model.engine.frame_stream import FrameStream, call_soon
from deployments.language_model.errors import EngineFailed, EngineFenced, EngineFull
from deployments.liveness.stalls import SelfFencing
from deployments.liveness.timings import TIMINGS
from deployments.messages import CodeFrames, CodeRequest, Heartbeat
from deployments.scaling_stats import ThroughputMeter
from deployments.telemetry.metric import NOT_RECORDED, Recorder

# How often the batch size is recorded: a step takes milliseconds, and recording microseconds.
_RECORD_S = 1.0
_NOT_RECORDED = NOT_RECORDED.labelled(model="none")

_log = logging.getLogger("ray.serve.language_model")  # below Serve's own, whose files and format it shares


@dataclass(frozen=True)
class EngineLoad:
    """How much of an engine is in use: slots_used + slots_free are all slots.

    Attributes:
        waiting: requests without a slot.
    """

    slots_used: int
    slots_free: int
    waiting: int


class EngineLoop:
    """Runs `build()` and then the engine it gives in one thread. Close it, or use it as a context manager."""

    def __init__(
        self,
        build: Callable[[], Engine],
        name: str = "engine",
        *,
        on_failure: Callable[[BaseException], None] = lambda error: None,
        fencing: SelfFencing | None = None,
        heartbeat_s: float = TIMINGS.heartbeat_s,
        recorder: Recorder = _NOT_RECORDED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Waits until the engine is built.

        Args:
            on_failure: called in the engine's thread as soon as it has broken, before anybody else hears of it.
            fencing: when its lease expires all requests are given up; one of its own by default.
            heartbeat_s: as `FrameStream` takes it.
            recorder: of how many requests a step has; model is among its labels.
            clock: seconds, monotonic.

        Attributes:
            frames_made: measures what comes out.

        Raises:
            BaseException: Whatever `build` raises.
        """
        self._commands: queue.SimpleQueue[_Command | None] = queue.SimpleQueue()
        self._streams: dict[str, FrameStream] = {}
        self._fencing = fencing or SelfFencing()
        self._heartbeat_s = heartbeat_s
        self._recorder = recorder
        self._clock = clock
        self._recorded_s = -math.inf
        self.frames_made = ThroughputMeter()
        self._on_failure = on_failure
        self._failure: BaseException | None = None
        self._ended = False
        built = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(build, built), name=name, daemon=True)
        self._thread.start()
        built.wait()
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> EngineLoop:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread after the step it is in. Streams that are still open fail with EngineFailed."""
        self._commands.put(None)
        self._thread.join()

    @property
    def numerics(self) -> str:
        return self._engine.numerics

    @property
    def load(self) -> EngineLoad:
        scheduler = self._engine.scheduler
        return EngineLoad(len(scheduler.running), scheduler.num_free, scheduler.num_waiting)

    @property
    def num_frames_waiting(self) -> int:
        """Of the requests that have no slot."""
        return self._engine.scheduler.num_frames_waiting

    def check_health(self) -> None:
        """Checks that the engine is up.

        Raises:
            EngineFailed: Once the thread has ended.
        """
        if self._ended:
            raise self._end_reason()

    async def check_integrity(self) -> None:
        """Runs the engine's own check, in its thread.

        Raises:
            AssertionError: As `Engine.check_integrity`.
            EngineFailed: Once the thread has ended.
        """
        await self._in_thread(self._engine.check_integrity)

    async def generate(self, request: CodeRequest) -> AsyncGenerator[CodeFrames | Heartbeat, None]:
        """The request's frames as they become whole. Leaving the iteration early frees the slot.

        A heartbeat comes once the request is added, one when it gets its slot, and one whenever nothing came for
        `heartbeat_s`.

        Raises:
            ValueError, EngineFull: From `Engine.add`.
            OutOfMemory: When there is no memory for the request.
            EngineFenced: When its requests were given up after a suspension.
            EngineFailed: When the thread has ended.
        """
        stream = FrameStream(request.chunk_ends, self._heartbeat_s, self._renew)
        try:
            self._post(_Command(lambda: self._add(request, stream), stream.added))
            while True:
                item = await stream.next()
                yield item
                if isinstance(item, CodeFrames) and item.finished:
                    return
        finally:
            stream.close()
            self._post(_Command(lambda: self._forget(request.request_id, stream)))

    def _renew(self) -> None:
        self._fencing.renew(lambda: self._post(_Command(self._give_up_all)))

    async def _in_thread(self, function: Callable[[], None]) -> None:
        """Runs a function between two steps. It runs even if its waiter is cancelled."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def finish(error: Exception | None) -> None:
            if done.cancelled():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        self._post(_Command(function, lambda error: call_soon(loop, finish, error)))
        await done

    def _post(self, command: _Command | None) -> None:
        self._commands.put(command)
        if self._ended:
            self._refuse_commands()

    def _add(self, request: CodeRequest, stream: FrameStream) -> None:
        self._engine.add(request)
        self._streams[request.request_id] = stream

    def _forget(self, request_id: str, stream: FrameStream) -> None:
        if self._streams.get(request_id) is stream:
            del self._streams[request_id]
            self._engine.abort(request_id)

    def _give_up_all(self) -> None:
        """Those that run and those that wait, so that the engine is idle: their readers will have gone elsewhere."""
        if self._engine.idle:
            return
        silence = f"no sign of life for more than {self._fencing.lease_s:g} s"
        ENGINE_LAPSED.tell(_log, lease_s=self._fencing.lease_s, load=str(self.load))
        for request_id, stream in self._streams.items():
            self._engine.abort(request_id)
            stream.fail(EngineFenced(f"the replica gave {silence}, and its generations may have been taken over"))
        self._streams.clear()

    def _run(self, build: Callable[[], Engine], built: threading.Event) -> None:
        try:
            self._engine = build()
            built.set()
            try:
                self._work()
            except BaseException as error:
                self._on_failure(error)
                raise
            finally:
                self._engine.close()
        except BaseException as error:  # noqa: BLE001 - it travels: to the builder, every stream, the health check
            self._failure = error
        finally:
            self._ended = True
            built.set()
            for stream in self._streams.values():
                stream.fail(self._end_reason())
            self._refuse_commands()

    def _work(self) -> None:
        while self._run_commands():
            for request_id, error in self._engine.admit():
                if error is None:
                    self._streams[request_id].admitted()
                else:
                    ENGINE_REFUSED.tell(_log, generation=request_id.partition("-")[0], reason=str(error))
                    self._streams[request_id].fail(error)
            self._record_batch_size()
            for frames in self._engine.step():
                self.frames_made.count(frames.codes.shape[1])
                self._streams[frames.request_id].frames(frames)

    def _record_batch_size(self) -> None:
        now_s = self._clock()
        if now_s - self._recorded_s >= _RECORD_S and self._engine.scheduler.running:
            self._recorded_s = now_s
            self._recorder.observe(BATCH_SIZE, len(self._engine.scheduler.running), stage="language_model")

    def _run_commands(self) -> bool:
        """Runs the commands; waits for one when there is nothing to compute. False: the loop is to end."""
        while True:
            # Before the commands are looked at: a renewal after the lease has expired gives up by one of them.
            if self._fencing.expired:
                self._give_up_all()
            if self._commands.empty() and not self._engine.idle:
                return True
            command = self._commands.get()
            if command is None:
                return False
            command.run()

    def _refuse_commands(self) -> None:
        while not self._commands.empty():
            try:
                command = self._commands.get_nowait()
            except queue.Empty:  # another thread was faster
                return
            if command is not None:
                command.finish(self._end_reason())

    def _end_reason(self) -> EngineFailed:
        return EngineFailed(
            "the engine was closed" if self._failure is None else f"the engine broke: {self._failure!r}"
        )


@dataclass(frozen=True)
class _Command:
    """Something to do in the engine's thread. finish: called with its error, or None."""

    function: Callable[[], None]
    finish: Callable[[Exception | None], None] = lambda error: None

    def run(self) -> None:
        try:
            self.function()
        except (ValueError, EngineFull, AssertionError) as error:
            self.finish(error)
        else:
            self.finish(None)
