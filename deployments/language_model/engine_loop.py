"""The engine's thread, and an async skin over it.

The step loop has a thread of its own, so that the replica's event loop answers health checks while it computes.
Everything that touches the engine runs in that thread, in the order it was asked for.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass

import numpy as np

from deployments.language_model.engine import Engine
from deployments.language_model.scheduler import EngineFull
from deployments.messages import CodeFrames, CodeRequest

CHUNK_FRAMES = 10  # 0.2 s of sound: few enough messages, and fine enough for progress


class EngineFailed(Exception):
    """The engine's thread has ended; this replica can't make anything any more."""


@dataclass(frozen=True)
class EngineLoad:
    """slots_used + slots_free = all; waiting: requests without a slot."""

    slots_used: int
    slots_free: int
    waiting: int


class _Listener:
    """Where one request's frames go: an asyncio queue, fed from the engine's thread in chunks.

    Chunks end at the frames the request names, else where (frame number) % CHUNK_FRAMES = 0; and at the last.
    """

    def __init__(self, chunk_ends: Collection[int]) -> None:
        self._ends = frozenset(chunk_ends)
        self.items: asyncio.Queue[CodeFrames | Exception] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._gathered: list[CodeFrames] = []

    def frames(self, new: CodeFrames) -> None:
        self._gathered.append(new)
        end = new.first_frame + new.codes.shape[1]
        if new.finished or (end in self._ends if self._ends else end % CHUNK_FRAMES == 0):
            codes = np.concatenate([part.codes for part in self._gathered], axis=1)
            self._put(CodeFrames(new.request_id, self._gathered[0].first_frame, codes, new.finished))
            self._gathered.clear()

    def fail(self, error: Exception) -> None:
        self._put(error)

    def _put(self, item: CodeFrames | Exception) -> None:
        _call_soon(self._loop, self.items.put_nowait, item)


class EngineLoop:
    """Runs `build()` and then the engine it gives in one thread. Close it, or use it as a context manager."""

    def __init__(self, build: Callable[[], Engine], name: str = "engine") -> None:
        """Waits until the engine is built. Raises: whatever `build` raises."""
        self._commands: queue.SimpleQueue[_Command | None] = queue.SimpleQueue()
        self._listeners: dict[str, _Listener] = {}
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

    def check_health(self) -> None:
        """Raises: EngineFailed once the thread has ended."""
        if self._ended:
            raise self._reason()

    async def check_integrity(self) -> None:
        """Raises: AssertionError, EngineFailed."""
        await self._in_thread(self._engine.check_integrity)

    async def generate(self, request: CodeRequest) -> AsyncIterator[CodeFrames]:
        """The request's frames as they become whole. Leaving the iteration early frees the slot.

        Raises: ValueError, EngineFull (from `Engine.add`), EngineFailed.
        """
        listener = _Listener(request.chunk_ends)
        try:
            await self._in_thread(lambda: self._add(request, listener))
            while True:
                item = await listener.items.get()
                if isinstance(item, Exception):
                    raise item
                yield item
                if item.finished:
                    return
        finally:
            self._post(_Command(lambda: self._forget(request.request_id, listener)))

    async def _in_thread(self, function: Callable[[], None]) -> None:
        """Run a function between two steps. Given up by its waiter, it runs all the same: `generate` undoes it."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def finish(error: Exception | None) -> None:
            if done.cancelled():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        self._post(_Command(function, lambda error: _call_soon(loop, finish, error)))
        await done

    def _post(self, command: _Command | None) -> None:
        self._commands.put(command)
        if self._ended:
            self._refuse_commands()

    def _add(self, request: CodeRequest, listener: _Listener) -> None:
        self._engine.add(request)
        self._listeners[request.request_id] = listener

    def _forget(self, request_id: str, listener: _Listener) -> None:
        if self._listeners.get(request_id) is listener:
            del self._listeners[request_id]
            self._engine.abort(request_id)

    def _run(self, build: Callable[[], Engine], built: threading.Event) -> None:
        try:
            self._engine = build()
            built.set()
            try:
                while self._obey():
                    for frames in self._engine.step():
                        self._listeners[frames.request_id].frames(frames)
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

    def _obey(self) -> bool:
        """Run what was asked for; wait for something when there is nothing to compute. False: the end."""
        while not self._commands.empty() or self._engine.idle:
            command = self._commands.get()
            if command is None:
                return False
            command.run()
        return True

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


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: object) -> None:
    """A loop that has been closed has nobody left to tell."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, *args)
