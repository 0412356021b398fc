"""Jobs in a database: blocking calls, each one short transaction; and the same calls for an event loop."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, case, delete, exists, insert, select, update

from deployments.messages import QueueClass, Resumption
from deployments.scaling_stats import ModelQueue
from serve_app.database import job_queries, job_rows, job_saving
from serve_app.database.database import Database
from serve_app.database.lease_table import ClockReading, read_clock
from serve_app.database.schema import jobs, variations
from serve_app.errors import NotReady
from serve_app.faults import Faults
from serve_app.job import (
    ENDED,
    Checkpoint,
    ClaimedVariation,
    Fault,
    IdempotencyKeyReused,
    Job,
    JobState,
    SoundHealth,
    StaleToken,
    Submission,
    TooManyQueued,
    UnknownJob,
    VariationId,
)
from serve_app.scaling.policy import Waiting
from serve_app.stores.store import StoreError
from serve_app.stores.threads import ThreadPool


_Result = TypeVar("_Result")


class JobTable:
    """Jobs and their variations. Safe for many threads and processes.

    The holder of the lease `VariationId.lease_name` generates that variation and writes under the lease's token. Once
    another process has begun it with a larger token, writes under the old one are refused.

    Every call raises StoreError where the database fails. Then nothing was changed, unless the answer to a commit was
    lost; repeating the call does no harm.

    Args:
        database: of the jobs.
        clock: of the leases.
        wall: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[Connection], ClockReading] = read_clock,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.database = database
        self._clock = clock
        self._wall = wall

    def submit(self, submission: Submission, max_queued: int) -> tuple[Job, bool]:
        """Stores a job.

        Returns the job, and whether it is new: the same idempotency key and body return the existing job. max_queued:
        most variations of the tenant that may be queued, these included.

        Raises:
            IdempotencyKeyReused: the key was used with another body.
            TooManyQueued: the queue of the tenant is full.
        """
        tenant, key = submission.tenant, submission.idempotency_key
        with self.database.writing() as connection:
            # Nobody else stores a job of this tenant until the end, so that what is read here stays true.
            self.database.lock(connection, f"submit {tenant}")
            before = None if key is None else job_queries.submitted(connection, tenant, key)
            if before is not None:
                job, digest = before
                if digest != submission.body_digest:
                    raise IdempotencyKeyReused
                return job, False
            if job_queries.num_queued(connection, tenant) + len(submission.seeds) > max_queued:
                raise TooManyQueued
            job_id = uuid.uuid4().hex
            row = job_rows.job_row(submission, job_id, self._wall())
            result = connection.execute(insert(jobs).values(**row))
            assert result.inserted_primary_key is not None
            rows = job_rows.variation_rows(submission, result.inserted_primary_key[0])
            connection.execute(insert(variations), rows)
            return job_queries.found(connection, [(tenant, job_id)])[job_id], True

    def is_known(self, tenant: str, idempotency_key: str) -> bool:
        """Whether a job was submitted with this key before."""
        with self.database.reading() as connection:
            return job_queries.submitted(connection, tenant, idempotency_key) is not None

    def find(self, tenant: str, job_id: str) -> Job | None:
        """The job; None where the tenant has none with this id."""
        return self.find_many([(tenant, job_id)]).get(job_id)

    def find_many(self, pairs: Collection[tuple[str, str]]) -> dict[str, Job]:
        """By id, the jobs that exist among these pairs of tenant and id."""
        with self.database.reading() as connection:
            return job_queries.found(connection, pairs)

    def page(self, tenant: str, limit: int, before: str | None) -> list[Job]:
        """Jobs older than the job `before`, newest first. Raises: UnknownJob where there is no such job."""
        with self.database.reading() as connection:
            page = job_queries.page(connection, tenant, limit, before)
        if page is None:
            raise UnknownJob
        return page

    def made(self, tenant: str, job_id: str, number: int) -> Resumption | None:
        """All codes of a variation that has succeeded; None where there is no such variation."""
        with self.database.reading() as connection:
            return job_queries.made(connection, tenant, job_id, number)

    def backlog(self) -> dict[ModelQueue, Waiting]:
        """Queued variations of all tenants, by model and queue class."""
        with self.database.reading() as connection:
            return job_queries.backlog(connection)

    def cancel(self, tenant: str, job_id: str) -> Job | None:
        """Cancels the variations that have not ended, and fences off who generates them. Returns the job."""
        with self.database.writing() as connection:
            number = _locked_job(connection, tenant, job_id)
            if number is None:
                return None
            now_s = self._wall()
            mine = update(variations).where(variations.c.job == number, variations.c.state.not_in(ENDED))
            cancelled = connection.execute(mine.values(state="cancelled", token=variations.c.token + 1, ended_s=now_s))
            if cancelled.rowcount:
                _ended(connection, number, now_s)
            return job_queries.found(connection, [(tenant, job_id)])[job_id]

    def remove(self, tenant: str, job_id: str) -> bool:
        """Deletes a job that has ended, with its codes. Returns whether there was such a job."""
        mine = delete(jobs).where(jobs.c.tenant == tenant, jobs.c.id == job_id, jobs.c.ended_s.is_not(None))
        with self.database.writing() as connection:
            return connection.execute(mine).rowcount == 1

    def sweep(self, ended_before_s: float, limit: int = 100) -> int:
        """Deletes jobs that ended before, with their codes, the oldest first. Returns how many."""
        old = select(jobs.c.number).where(jobs.c.ended_s < ended_before_s).order_by(jobs.c.ended_s).limit(limit)
        with self.database.writing() as connection:
            # Rows that another transaction has locked are left to it.
            numbers = connection.execute(old.with_for_update(skip_locked=True)).scalars().all()
            connection.execute(delete(jobs).where(jobs.c.number.in_(numbers)))
            return len(numbers)

    def candidates(self, limit: int, classes: Collection[QueueClass]) -> list[VariationId]:
        """Variations of these classes that are due and whose lease is free, in the order to claim them.

        Abandoned ones come first, then by class. Within a class tenants take turns, beginning with the tenant that has
        the fewest running, and each tenant's oldest comes first.
        """
        with self.database.reading() as connection:
            return job_queries.candidates(connection, self._clock(connection), limit, classes)

    def begin(self, variation: VariationId, token: int) -> ClaimedVariation | None:
        """Begins an attempt under a new lease; None where the variation has ended or a later token has begun it."""
        with self.database.writing() as connection:
            row = job_saving.locked(connection, [variation]).get(variation)
            if row is None or row.state in ENDED or row.token > token:
                return None
            started_s = self._wall() if row.started_s is None else row.started_s
            _change(connection, row, state="running", token=token, attempts=row.attempts + 1, started_s=started_s)
            job_saving.touch(connection, [row.job])
            job = connection.execute(select(jobs).where(jobs.c.number == row.job)).one()
            return ClaimedVariation(
                request=job_rows.request(job, row.seed),
                num_frames=row.num_frames,
                attempts=row.attempts + 1,
                resumption=job_queries.saved(connection, row),
            )

    def save(self, batch: Sequence[Checkpoint]) -> set[VariationId]:
        """Saves checkpoints in one transaction. Frames that were saved before are skipped.

        Returns:
            Variations whose token is stale: nothing of them was saved.

        Raises:
            ValueError: frames do not follow the saved ones or differ from them, a start would replace that of saved
                frames, or a variation comes twice under one token. Nothing is saved.
        """
        with self.database.writing() as connection:
            return job_saving.save(connection, batch)

    def succeed(self, variation: VariationId, token: int, health: SoundHealth | None = None) -> None:
        """Ends the variation as succeeded. Raises: StaleToken; ValueError where frames are missing."""
        self._end(variation, token, "succeeded", {} if health is None else asdict(health))

    def fail(self, variation: VariationId, token: int, fault: Fault) -> None:
        """Ends the variation as failed. Raises: StaleToken."""
        self._end(variation, token, "failed", {"fault_type": fault.type, "fault_message": fault.message})

    def put_off(self, variation: VariationId, token: int, delay_s: float, failed: bool) -> None:
        """Postpones the next attempt by `delay_s`, an hour at most. Without a failure this attempt does not count.

        Raises: StaleToken.
        """
        with self.database.writing() as connection:
            row = _ours(connection, variation, token)
            now = self._clock(connection)
            attempts = row.attempts if failed else max(0, row.attempts - 1)
            due_s = now.now_s + min(delay_s, job_queries.MAX_DELAY_S)
            _change(connection, row, due_era=now.era, due_s=due_s, attempts=attempts)
            if attempts != row.attempts:
                job_saving.touch(connection, [row.job])

    def start_over(self, variation: VariationId, token: int) -> None:
        """Deletes what is saved of it, since no engine is left that could resume it. Raises: StaleToken."""
        with self.database.writing() as connection:
            row = _ours(connection, variation, token)
            job_saving.forget(connection, row.id)
            job_saving.touch(connection, [row.job])

    def check_integrity(self) -> None:
        """Raises: AssertionError for a broken database or rows that contradict each other; StoreError."""
        self.database.check_integrity()
        with self.database.reading() as connection:
            job_saving.check_integrity(connection)

    def _end(self, variation: VariationId, token: int, state: JobState, values: Mapping[str, Any]) -> None:
        """values: of more columns."""
        with self.database.writing() as connection:
            row = job_saving.locked(connection, [variation]).get(variation)
            if row is not None and (row.token, row.state) == (token, state):
                return  # a retry: the answer to the first call was lost
            row = _ours(connection, variation, token)
            if state == "succeeded" and row.frames < row.num_frames:
                raise ValueError(f"{row.frames} of {row.num_frames} frames are saved: it has not succeeded")
            now_s = self._wall()
            _change(connection, row, state=state, ended_s=now_s, **values)
            _ended(connection, row.job, now_s)


def _locked_job(connection: Connection, tenant: str, job_id: str) -> int | None:
    mine = select(jobs.c.number).where(jobs.c.tenant == tenant, jobs.c.id == job_id).with_for_update()
    return connection.execute(mine).scalar_one_or_none()


def _ours(connection: Connection, variation: VariationId, token: int) -> Row[Any]:
    """The variation, locked; it runs under this token. Raises: StaleToken."""
    row = job_saving.locked(connection, [variation]).get(variation)
    if row is None or row.token != token or row.state != "running":
        raise StaleToken
    return row


def _change(connection: Connection, row: Row[Any], **values: Any) -> None:
    connection.execute(update(variations).where(variations.c.id == row.id).values(**values))


def _ended(connection: Connection, number: int, now_s: float) -> None:
    """Updates this job, which is locked: some of its variations have ended."""
    goes_on = exists().where(variations.c.job == number, variations.c.state.not_in(ENDED))
    ended_s = case((goes_on, None), else_=now_s)
    connection.execute(update(jobs).where(jobs.c.number == number).values(version=jobs.c.version + 1, ended_s=ended_s))


class AsyncJobTable:
    """A `JobTable` for an event loop: its calls run in threads.

    Args:
        table: of the jobs.
        threads: for the calls.
        faults: counts failed calls.
        timeout_s: of each call.
    """

    def __init__(self, table: JobTable, threads: ThreadPool, faults: Faults, *, timeout_s: float) -> None:
        self.faults = faults
        self._table = table
        self._threads = threads
        self._timeout_s = timeout_s

    async def run(self, what: str, call: Callable[[JobTable], _Result]) -> _Result:
        """The result of a call. what: its name, for the count and the log.

        Raises:
            NotReady: the database cannot be reached; the call was not made, or its answer was lost.
            Exception: what the call raises.
        """
        try:
            return await self._threads.run(lambda: call(self._table), self._timeout_s)
        except StoreError as error:
            self.faults.count(f"job {what} {error.kind}", str(error))
            raise NotReady("The database can't be reached just now; try again in a moment.") from error
