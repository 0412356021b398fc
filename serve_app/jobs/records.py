"""The jobs' table for an event loop: calls in threads, and a database that can't do it told as one error."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from serve_app.api.errors import NotReady
from serve_app.cache.faults import Faults
from serve_app.cache.store import StoreError
from serve_app.records.job_table import JobTable
from serve_app.records.threads import Threads

_Result = TypeVar("_Result")


class JobRecords:
    """timeout_s: of each call."""

    def __init__(self, table: JobTable, threads: Threads, faults: Faults, *, timeout_s: float) -> None:
        self.faults = faults
        self._table = table
        self._threads = threads
        self._timeout_s = timeout_s

    async def ask(self, what: str, call: Callable[[JobTable], _Result]) -> _Result:
        """What the call gives. what: the call's name, for the count and the log.

        Raises: NotReady where the records can't be reached: it was not done, or its answer was lost. What the call
        raises.
        """
        try:
            return await self._threads.run(lambda: call(self._table), self._timeout_s)
        except StoreError as error:
            self.faults.count(f"job {what} {error.kind}", str(error))
            raise NotReady("The records can't be reached just now; try again in a moment.") from error
