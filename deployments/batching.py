"""Dynamic batching without a timer: items that come while a batch is run form the next batch.

So an item alone never waits for others, and a busy worker gets batches as large as its work is long.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from logging import WARNING
from typing import Generic, TypeVar

from deployments.telemetry.log_event import LogEvent
from deployments.telemetry.metric import NOT_RECORDED, Metric, Recorder

_BATCHES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0, 128.0, 256.0)
BATCH_FAILED = LogEvent(
    "batch_failed",
    WARNING,
    "%(stage)s: a batch of %(size)d failed (%(cause)s); trying each alone",
    "One of several texts or windows is more than the model takes.",
)
BATCH_SIZE = Metric(
    "musicgen_batch_size",
    "histogram",
    "What is worked on at once: prompts, generations in a step (looked at once a second), windows of codes.",
    "items",
    ("model", "stage"),
    _BATCHES,
)


Item = TypeVar("Item")
Result = TypeVar("Result")

_NOT_RECORDED = NOT_RECORDED.labelled(model="none", stage="none")

_log = logging.getLogger("ray.serve.batching")  # below Serve's own, whose files and format it shares


class BatcherClosedError(RuntimeError):
    """The batcher was closed before the item's turn came."""


class _Entry(Generic[Item, Result]):
    def __init__(self, item: Item) -> None:
        self.item = item
        self.result: Future[Result] = Future()


@dataclass(frozen=True)
class _Failure:
    error: Exception


class Batcher(Generic[Item, Result]):
    """Runs `work` on batches of what is submitted, in order of arrival, on a thread of its own.

    Args:
        work: [item, …] → as many results in the same order. When it raises for a batch of several, it is called again
            for each item alone, so that a bad item fails alone: it must not have changed anything by then.
        max_batch: items at most in a batch.
        name: of the thread, and in messages.
        recorder: is told each batch's size; model and stage are among its labels.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        max_batch: int,
        name: str,
        recorder: Recorder = _NOT_RECORDED,
    ) -> None:
        if max_batch < 1:
            raise ValueError(f"max_batch must be at least 1, not {max_batch}")
        self._work = work
        self._max_batch = max_batch
        self._name = name
        self._recorder = recorder
        self._changed = threading.Condition()
        self._queue: deque[_Entry[Item, Result]] = deque()
        self._running: list[_Entry[Item, Result]] = []
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def num_queued(self) -> int:
        """Items whose batch has not begun."""
        return len(self._queue)

    @property
    def num_running(self) -> int:
        """Items in the batch that is being worked on."""
        return len(self._running)

    async def submit(self, item: Item) -> Result:
        """The item's result, once its batch is done. Cancelled before its batch begins, the item leaves the queue.

        Raises:
            BatcherClosedError: When the batcher was closed before the item's batch.
            Exception: What `work` raised for this item.
            RuntimeError: If `work` returned a wrong number of results.
        """
        entry: _Entry[Item, Result] = _Entry(item)
        with self._changed:
            if self._closed:
                raise BatcherClosedError(f"{self._name} is closed")
            self._queue.append(entry)
            self._changed.notify()
        try:
            return await asyncio.wrap_future(entry.result)
        except asyncio.CancelledError:
            self._withdraw(entry)
            raise

    def close(self) -> None:
        """Fails what is queued, waits for the batch that is being worked on (it keeps its results), ends the thread.

        Blocks for as long as that batch takes. May be called again.
        """
        with self._changed:
            self._closed = True
            abandoned = list(self._queue)
            self._queue.clear()
            self._changed.notify()
        for entry in abandoned:
            if entry.result.set_running_or_notify_cancel():
                entry.result.set_exception(BatcherClosedError(f"{self._name} was closed"))
        self._thread.join()

    def check_integrity(self) -> None:
        """Checks that every item is where it belongs.

        Raises:
            AssertionError: When an item is held twice, or waits in a batcher that will not run it.
        """
        with self._changed:
            held = [*self._queue, *self._running]
            assert len({id(entry) for entry in held}) == len(held), "an item is held twice"
            assert len(self._running) <= self._max_batch, f"{len(self._running)} items run, {self._max_batch} may"
            assert self._closed or self._thread.is_alive(), "the thread has ended, though nobody closed the batcher"
            assert not (self._closed and self._queue), "items wait in a closed batcher"

    def _withdraw(self, entry: _Entry[Item, Result]) -> None:
        with self._changed:
            if entry in self._queue:
                self._queue.remove(entry)
        entry.result.cancel()

    def _run(self) -> None:
        while batch := self._next_batch():
            self._recorder.observe(BATCH_SIZE, len(batch))
            outcomes = self._outcomes([entry.item for entry in batch])
            with self._changed:
                self._running = []
            for entry, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, _Failure):
                    entry.result.set_exception(outcome.error)
                else:
                    entry.result.set_result(outcome)

    def _next_batch(self) -> list[_Entry[Item, Result]]:
        """Waits for items and takes them from the queue; empty once the batcher is closed."""
        with self._changed:
            while not self._closed and not self._running:
                while self._queue and len(self._running) < self._max_batch:
                    entry = self._queue.popleft()
                    if entry.result.set_running_or_notify_cancel():
                        self._running.append(entry)
                if not self._running:
                    self._changed.wait()
            return self._running

    def _outcomes(self, items: Sequence[Item]) -> list[Result | _Failure]:
        try:
            results = self._work(items)
        except BaseException as error:  # noqa: BLE001 - it travels to the item's caller
            if len(items) == 1:
                return [_Failure(_presentable(error))]
            # Only the type: a message may quote what a client sent.
            BATCH_FAILED.tell(_log, stage=self._name, size=len(items), cause=type(error).__name__)
            return [outcome for item in items for outcome in self._outcomes([item])]
        if len(results) != len(items):
            message = f"{self._name} returned {len(results)} results for {len(items)} items"
            return [_Failure(RuntimeError(message)) for _ in items]
        return list(results)


def _presentable(error: BaseException) -> Exception:
    """Errors that mean something else to an event loop (StopIteration, CancelledError, SystemExit) are wrapped."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"the work ended with {type(error).__name__}")
    wrapped.__cause__ = error
    return wrapped
