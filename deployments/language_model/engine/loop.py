"""The engine's thread, and an async skin over it.

The step loop has a thread of its own, so that the replica's event loop answers health checks while it computes.
Everything that touches the engine runs in that thread, in the order it was asked for.
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
from deployments.language_model.engine.engine import Engine
from deployments.language_model.engine.engine_metrics import ENGINE_LAPSED, ENGINE_REFUSED
from deployments.language_model.engine.frame_stream import Listener, call_soon
from deployments.language_model.errors import EngineFailed, EngineFull, Lapsed
from deployments.liveness.stalls import BEAT_S, Pulse
from deployments.messages import Beat, CodeFrames, CodeRequest
from deployments.scaling_stats import Speedometer
from deployments.telemetry.metric import NOT_RECORDED, Recorder

# How often one looks how many generations a step has: a step takes milliseconds, and telling it microseconds.
_LOOK_S = 1.0
_NOT_RECORDED = NOT_RECORDED.labelled(model="none")

_log = logging.getLogger("ray.serve.language_model")  # below Serve's own, whose files and format it shares


@dataclass(frozen=True)
class EngineLoad:
    """slots_used + slots_free = all; waiting: requests without a slot."""

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
        pulse: Pulse | None = None,
        beat_s: float = BEAT_S,
        recorder: Recorder = _NOT_RECORDED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Waits until the engine is built. Raises: whatever `build` raises.

        on_failure: called in the engine's thread as soon as it has broken, before anybody else hears of it.
        frames_made: counts what comes out.
        pulse: whose lapse has it give up all it holds; one of its own by default. beat_s: as `Listener` takes it.
        recorder: is told how many generations a step has; model is among its labels. clock: seconds, monotonic.
        """
        self._commands: queue.SimpleQueue[_Command | None] = queue.SimpleQueue()
        self._listeners: dict[str, Listener] = {}
        self._pulse = pulse or Pulse()
        self._beat_s = beat_s
        self._recorder = recorder
        self._clock = clock
        self._looked_s = -math.inf
        self.frames_made = Speedometer()
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
        """Ends the thread after the step it is in. Whoever still listens gets EngineFailed."""
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
        """That are asked of those without a slot."""
        return self._engine.scheduler.num_frames_waiting

    def check_health(self) -> None:
        """Raises: EngineFailed once the thread has ended."""
        if self._ended:
            raise self._reason()

    async def check_integrity(self) -> None:
        """Raises: AssertionError, EngineFailed."""
        await self._in_thread(self._engine.check_integrity)

    async def generate(self, request: CodeRequest) -> AsyncGenerator[CodeFrames | Beat, None]:
        """The request's frames as they become whole. Leaving the iteration early frees the slot.

        A beat comes once the request is in, one when it gets its slot, and one whenever nothing came for `beat_s`.
        Raises: ValueError, EngineFull (from `Engine.add`), OutOfMemory, Lapsed, EngineFailed.
        """
        listener = Listener(request.chunk_ends, self._beat_s, self._beat)
        try:
            self._post(_Command(lambda: self._add(request, listener), listener.added))
            while True:
                item = await listener.next()
                yield item
                if isinstance(item, CodeFrames) and item.finished:
                    return
        finally:
            listener.close()
            self._post(_Command(lambda: self._forget(request.request_id, listener)))

    def _beat(self) -> None:
        self._pulse.beat(lambda: self._post(_Command(self._give_up)))

    async def _in_thread(self, function: Callable[[], None]) -> None:
        """Run a function between two steps. Given up by its waiter, it runs all the same."""
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

    def _add(self, request: CodeRequest, listener: Listener) -> None:
        self._engine.add(request)
        self._listeners[request.request_id] = listener

    def _forget(self, request_id: str, listener: Listener) -> None:
        if self._listeners.get(request_id) is listener:
            del self._listeners[request_id]
            self._engine.abort(request_id)

    def _give_up(self) -> None:
        """All who run and wait, so that the engine is idle: whoever listens to them will have gone elsewhere."""
        if self._engine.idle:
            return
        silence = f"no sign of life for more than {self._pulse.lease_s:g} s"
        ENGINE_LAPSED.tell(_log, lease_s=self._pulse.lease_s, load=str(self.load))
        for request_id, listener in self._listeners.items():
            self._engine.abort(request_id)
            listener.fail(Lapsed(f"the replica gave {silence}, and its generations may have been taken over"))
        self._listeners.clear()

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
        except BaseException as error:  # noqa: BLE001 - it travels: to the builder, every listener, the health check
            self._failure = error
        finally:
            self._ended = True
            built.set()
            for listener in self._listeners.values():
                listener.fail(self._reason())
            self._refuse_commands()

    def _work(self) -> None:
        while self._obey():
            for request_id, error in self._engine.admit():
                if error is None:
                    self._listeners[request_id].admitted()
                else:
                    ENGINE_REFUSED.tell(_log, generation=request_id.partition("-")[0], reason=str(error))
                    self._listeners[request_id].fail(error)
            self._look()
            for frames in self._engine.step():
                self.frames_made.count(frames.codes.shape[1])
                self._listeners[frames.request_id].frames(frames)

    def _look(self) -> None:
        now_s = self._clock()
        if now_s - self._looked_s >= _LOOK_S and self._engine.scheduler.running:
            self._looked_s = now_s
            self._recorder.observe(BATCH_SIZE, len(self._engine.scheduler.running), stage="language_model")

    def _obey(self) -> bool:
        """Run what was asked for; wait for something when there is nothing to compute. False: the end."""
        while True:
            # Before the commands are looked at: a beat that ends a lapse asks for the same by one of them.
            if self._pulse.lapsed:
                self._give_up()
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
                command.finish(self._reason())

    def _reason(self) -> EngineFailed:
        return EngineFailed(
            "the engine was closed" if self._failure is None else f"the engine broke: {self._failure!r}"
        )


@dataclass(frozen=True)
class _Command:
    """Something to do in the engine's thread; `finish` hears how it went."""

    function: Callable[[], None]
    finish: Callable[[Exception | None], None] = lambda error: None

    def run(self) -> None:
        try:
            self.function()
        except (ValueError, EngineFull, AssertionError) as error:
            self.finish(error)
        else:
            self.finish(None)
