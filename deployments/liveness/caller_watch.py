"""Whether those one works for are still there, and still want it: the other side of `presence`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from logging import WARNING
from typing import TypeVar

from deployments.liveness.heartbeat import BEAT, UNWANTED
from deployments.liveness.stalls import within
from deployments.telemetry.log_event import LogEvent

CALLER_GONE = LogEvent(
    "caller_gone",
    WARNING,
    "whoever asked for this is gone; it is given up",
    "A process that had asked died with its node; what it asked for is not made for nobody.",
    more=("address",),
)
CALLER_UNSEEN = LogEvent(
    "caller_unseen",
    WARNING,
    "can't see whether %(address)s is still there (%(cause)s)",
    "The network does not let this node connect to that one's port; a caller that dies is found out late.",
)


T = TypeVar("T")

# Less than the time after which another may have taken over what a silent one was doing (`records.lease_s`).
SILENCE_S = 7.0
_CONNECT_S = 5.0
# Whoever called waits for a first sign while it is asked, and not much longer (`lasting.FIRST_SIGN_S`).
ASK_S = 2.0
# Longer than Ray takes to see that a machine is gone.
HELD_UP_S = 60.0

_log = logging.getLogger("ray.serve.attendance")  # below Serve's own, whose files and format it shares


@dataclass
class _Caller:
    """gone: it will not come back. num_calls: of its calls that are under way here. over: there are none any more."""

    gone: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    num_calls: int = 0


class Attendance:
    """One connection to each caller, for as long as any of its calls is under way."""

    def __init__(self) -> None:
        self._callers: dict[str, _Caller] = {}
        self._watching: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._callers)

    async def is_wanted(self, caller: str) -> bool:
        """Whether the call has not been taken back. One whose caller can't be asked is taken to be wanted.

        caller: as `Presence.call` gives it; empty: of nobody, who wants everything.
        """
        address, _, call_id = caller.partition("/")
        if not address:
            return True
        try:
            return await within(_asked(address, call_id), ASK_S) != UNWANTED
        except (OSError, asyncio.TimeoutError):
            return True

    async def while_attended(self, items: AsyncGenerator[T, None], caller: str) -> AsyncGenerator[T, None]:
        """The items, which are closed at the end. They end early when whoever called is gone. caller: as above.

        It ends itself once the caller answers, or never will. Ray ends a streamed call when its caller has taken all
        that was reported of it, and waits for that in the replica's event loop: one caller that stands still would hold
        up all the others, down to Serve's health checks (ray-project/ray#44079; seen with 2.60).
        """
        address = caller.partition("/")[0]
        try:
            async with aclosing(self._while_there(items, address)) as those:
                async for item in those:
                    yield item
        except Exception:
            await _until_it_answers(address)
            raise
        await _until_it_answers(address)

    async def _while_there(self, items: AsyncGenerator[T, None], address: str) -> AsyncGenerator[T, None]:
        async with aclosing(items), self._called(address) as gone:
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
        """Returns when no connection is left of calls that are over."""
        await asyncio.gather(*(task for task in self._watching))

    @contextlib.asynccontextmanager
    async def _called(self, address: str) -> AsyncIterator[asyncio.Event]:
        if not address:
            yield asyncio.Event()
            return
        caller = self._callers.get(address)
        if caller is None:
            caller = self._callers[address] = _Caller()
            task = asyncio.create_task(_watch(address, caller))
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


async def _watch(address: str, caller: _Caller) -> None:
    """Until the caller is gone, or has no calls here. Not to be cancelled: a connection is easily lost on its way."""
    try:
        reader, writer = await within(_connected(address), _CONNECT_S)
    except (OSError, asyncio.TimeoutError) as error:
        # It may be the network that doesn't let us: better to work for nobody once than never for anybody.
        CALLER_UNSEEN.tell(_log, address=address, cause=type(error).__name__)
        return
    hearing = asyncio.ensure_future(_hear(reader))
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
        await _closed(writer)


async def _until_it_answers(address: str) -> None:
    """Returns too when nobody is there who could, or after HELD_UP_S."""
    left_s = HELD_UP_S if address else 0.0
    while left_s > 0:
        try:
            await within(_asked(address, ""), ASK_S)
        except asyncio.TimeoutError:
            left_s -= ASK_S
        except OSError:
            return
        else:
            return


async def _asked(address: str, call_id: str) -> bytes:
    """What it says of this call; empty: it has gone. Raises: OSError."""
    reader, writer = await _connected(address)
    try:
        writer.write(f"{call_id}\n".encode("ascii"))
        while (answer := await reader.read(1)) == BEAT:
            pass
        return answer
    finally:
        await _closed(writer)


async def _connected(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _hear(reader: asyncio.StreamReader) -> bool:
    """Until there is nothing more to hear. False: there never was, as from one who has too many connections."""
    heard = False
    try:
        while await within(reader.read(64), SILENCE_S):
            heard = True
    except (OSError, asyncio.TimeoutError):
        return True
    return heard
