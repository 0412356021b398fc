"""Whether the callers that a replica works for are up, and still want their calls: the other side of `heartbeat`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from logging import WARNING
from typing import TypeVar

from deployments.liveness.heartbeat import HEARTBEAT, UNWANTED
from deployments.liveness.stalls import within
from deployments.liveness.timings import TIMINGS, Timings
from deployments.telemetry.log_event import LogEvent

CALLER_GONE = LogEvent(
    "caller_gone",
    WARNING,
    "the caller is gone; its work is given up",
    "The process that made a call crashed or is unresponsive: nobody would fetch the result.",
    more=("address",),
)
CALLER_UNSEEN = LogEvent(
    "caller_unseen",
    WARNING,
    "can't see whether the caller %(address)s is up (%(cause)s)",
    "The network does not let this node connect to the caller's port; a crash of the caller is noticed late.",
)

T = TypeVar("T")

_log = logging.getLogger("ray.serve.caller_watch")  # below Serve's own, whose files and format it shares


@dataclass
class _Caller:
    """gone: it has crashed or is unresponsive. num_calls: under way here. over: none of its calls is under way."""

    gone: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    num_calls: int = 0


class CallerWatch:
    """One connection to each caller, for as long as any of its calls is under way."""

    def __init__(self, timings: Timings = TIMINGS) -> None:
        self._timings = timings
        self._callers: dict[str, _Caller] = {}
        self._watching: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._callers)

    async def is_wanted(self, caller: str) -> bool:
        """Whether the call has not been cancelled. One whose caller can't be asked is taken to be wanted.

        Args:
            caller: as `CallerHeartbeat.call` gives it; empty: unknown, and all its calls are wanted.
        """
        address, _, call_id = caller.partition("/")
        if not address:
            return True
        try:
            return await within(_answer_of(address, call_id), self._timings.answer_timeout_s) != UNWANTED
        except (OSError, asyncio.TimeoutError):
            return True

    async def while_caller_alive(self, items: AsyncGenerator[T, None], caller: str) -> AsyncGenerator[T, None]:
        """The items, which are closed at the end. They end early when the caller is gone.

        The iteration ends only when the caller answers, or never will. Ray ends a streamed call when its caller has
        taken all that was reported of it, and waits for that in the replica's event loop: one suspended caller would
        hold up all the others, down to Serve's health checks (ray-project/ray#44079; seen with 2.60).

        Args:
            caller: as in `is_wanted`.
        """
        address = caller.partition("/")[0]
        try:
            async with aclosing(self._until_gone(items, address)) as watched:
                async for item in watched:
                    yield item
        except Exception:
            await self._until_it_answers(address)
            raise
        await self._until_it_answers(address)

    async def _until_gone(self, items: AsyncGenerator[T, None], address: str) -> AsyncGenerator[T, None]:
        async with aclosing(items), self._calls_of(address) as gone:
            leaving = asyncio.ensure_future(gone.wait())
            try:
                while True:
                    coming = asyncio.ensure_future(anext(items, None))
                    try:
                        await asyncio.wait({coming, leaving}, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        if not coming.done():
                            coming.cancel()
                            await asyncio.wait({coming})
                    if leaving.done():
                        CALLER_GONE.tell(_log, address=address)
                        return
                    item = coming.result()
                    if item is None:
                        return
                    yield item
            finally:
                leaving.cancel()

    async def settled(self) -> None:
        """Returns when the connections of calls that are over are closed."""
        await asyncio.gather(*(task for task in self._watching))

    @contextlib.asynccontextmanager
    async def _calls_of(self, address: str) -> AsyncIterator[asyncio.Event]:
        if not address:
            yield asyncio.Event()
            return
        caller = self._callers.get(address)
        if caller is None:
            caller = self._callers[address] = _Caller()
            task = asyncio.create_task(self._watch(address, caller))
            self._watching.add(task)
            task.add_done_callback(self._watching.discard)
        caller.num_calls += 1
        try:
            yield caller.gone
        finally:
            caller.num_calls -= 1
            if not caller.num_calls:
                del self._callers[address]
                caller.over.set()

    async def _watch(self, address: str, caller: _Caller) -> None:
        """Until the caller is gone, or has no calls here. Never cancelled: that could leak the connection."""
        try:
            reader, writer = await within(_connect(address), self._timings.connect_timeout_s)
        except (OSError, asyncio.TimeoutError) as error:
            # It may be the network that doesn't let us: better to work for nobody once than never for anybody.
            CALLER_UNSEEN.tell(_log, address=address, cause=type(error).__name__)
            return
        hearing = asyncio.ensure_future(self._hear(reader))
        over = asyncio.ensure_future(caller.over.wait())
        try:
            await asyncio.wait({hearing, over}, return_when=asyncio.FIRST_COMPLETED)
            if hearing.done():
                if hearing.result():
                    caller.gone.set()
                else:
                    CALLER_UNSEEN.tell(_log, address=address, cause="it hung up")
        finally:
            for each in (hearing, over):
                each.cancel()
            await asyncio.gather(hearing, over, return_exceptions=True)
            await _close(writer)

    async def _hear(self, reader: asyncio.StreamReader) -> bool:
        """Until the heartbeats end. False: there never was one, as from a caller that has too many connections."""
        heard = False
        try:
            while await within(reader.read(64), self._timings.caller_silence_s):
                heard = True
        except (OSError, asyncio.TimeoutError):
            return True
        return heard

    async def _until_it_answers(self, address: str) -> None:
        """Returns too when the caller has crashed, or after `Timings.caller_return_s`."""
        left_s = self._timings.caller_return_s if address else 0.0
        while left_s > 0:
            try:
                await within(_answer_of(address, ""), self._timings.answer_timeout_s)
            except asyncio.TimeoutError:
                left_s -= self._timings.answer_timeout_s
            except OSError:
                return
            else:
                return


async def _answer_of(address: str, call_id: str) -> bytes:
    """What the caller says of this call; empty: it is gone. Raises: OSError."""
    reader, writer = await _connect(address)
    try:
        writer.write(f"{call_id}\n".encode("ascii"))
        while (answer := await reader.read(1)) == HEARTBEAT:
            pass
        return answer
    finally:
        await _close(writer)


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
