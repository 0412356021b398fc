"""Jobs in a database. Each call waits for it, and is one short transaction.

The jobs' table for an event loop: calls in threads, and a database that can't do it told as one error.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, case, delete, exists, insert, select, update

from deployments.messages import QueueClass, Resumption
from deployments.scaling_stats import Place
from serve_app.database import (
    job_queries as job_claims,
)
from serve_app.database import (
    job_queries as job_reading,
)
from serve_app.database import (
    job_rows,
    job_saving,
)
from serve_app.database import (
    job_saving as job_integrity,
)
from serve_app.database.database import Database
from serve_app.database.lease_table import Moment, moment
from serve_app.database.schema import jobs, variations
from serve_app.errors import NotReady
from serve_app.faults import Faults
from serve_app.job import (
    ENDED,
    Begun,
    Fault,
    Fenced,
    Job,
    JobState,
    KeyReused,
    Saving,
    SoundHealth,
    Submission,
    TooManyQueued,
    UnknownJob,
    VariationId,
)
from serve_app.scaling.policy import Waiting
from serve_app.stores.store import StoreError
from serve_app.stores.threads import Threads


class JobTable:
    """Safe for many threads and processes. Whoever holds the lease `VariationId.lease_name` makes that variation, and
    writes under the lease's token: once another has begun with a larger one, nothing of theirs is taken.

    clock: of the leases. wall: seconds since 1970. Every call raises StoreError where the database can't do it; then
    nothing was done, but for a commit whose answer was lost: what is then tried again does no harm.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[Connection], Moment] = moment,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.database = database
        self._clock = clock
        self._wall = wall

    def submit(self, submission: Submission, max_queued: int) -> tuple[Job, bool]:
        """The job, and whether it is new: the same idempotency key and body give the one that there is.

        max_queued: variations of the tenant that have not begun, these included. Raises: KeyReused, TooManyQueued.
        """
        tenant, key = submission.tenant, submission.idempotency_key
        with self.database.writing() as connection:
            # Nobody else takes in a job of this tenant until the end, so that what is looked up here stays true.
            self.database.turn(connection, f"submit {tenant}")
            before = None if key is None else job_reading.submitted(connection, tenant, key)
            if before is not None:
                job, digest = before
                if digest != submission.body_digest:
                    raise KeyReused
                return job, False
            if job_reading.num_queued(connection, tenant) + len(submission.seeds) > max_queued:
                raise TooManyQueued
            job_id = uuid.uuid4().hex
            row = job_rows.job_row(submission, job_id, self._wall())
            result = connection.execute(insert(jobs).values(**row))
            assert result.inserted_primary_key is not None
            rows = job_rows.variation_rows(submission, result.inserted_primary_key[0])
            connection.execute(insert(variations), rows)
            return job_reading.found(connection, [(tenant, job_id)])[job_id], True

    def is_known(self, tenant: str, idempotency_key: str) -> bool:
        """Whether a job came with this key before."""
        with self.database.reading() as connection:
            return job_reading.submitted(connection, tenant, idempotency_key) is not None

    def find(self, tenant: str, job_id: str) -> Job | None:
        return self.find_many([(tenant, job_id)]).get(job_id)

    def find_many(self, pairs: Collection[tuple[str, str]]) -> dict[str, Job]:
        """Of these tenants and ids, by id, the jobs that there are."""
        with self.database.reading() as connection:
            return job_reading.found(connection, pairs)

    def page(self, tenant: str, limit: int, before: str | None) -> list[Job]:
        """Newest first, from the one that follows the job `before` on. Raises: UnknownJob where that isn't one."""
        with self.database.reading() as connection:
            page = job_reading.page(connection, tenant, limit, before)
        if page is None:
            raise UnknownJob
        return page

    def made(self, tenant: str, job_id: str, number: int) -> Resumption | None:
        """All codes of a variation that has succeeded; None where there is none."""
        with self.database.reading() as connection:
            return job_reading.made(connection, tenant, job_id, number)

    def backlog(self) -> dict[Place, Waiting]:
        """Of all tenants, what nobody has begun, by model and queue class."""
        with self.database.reading() as connection:
            return job_reading.backlog(connection)

    def cancel(self, tenant: str, job_id: str) -> Job | None:
        """The job as it stands after: what had not ended is cancelled, and whoever makes it fenced."""
        with self.database.writing() as connection:
            number = _locked_job(connection, tenant, job_id)
            if number is None:
                return None
            now_s = self._wall()
            mine = update(variations).where(variations.c.job == number, variations.c.state.not_in(ENDED))
            cancelled = connection.execute(mine.values(state="cancelled", token=variations.c.token + 1, ended_s=now_s))
            if cancelled.rowcount:
                _ended(connection, number, now_s)
            return job_reading.found(connection, [(tenant, job_id)])[job_id]

    def remove(self, tenant: str, job_id: str) -> bool:
        """Takes away a job that has ended, with its codes; whether there was such a one."""
        mine = delete(jobs).where(jobs.c.tenant == tenant, jobs.c.id == job_id, jobs.c.ended_s.is_not(None))
        with self.database.writing() as connection:
            return connection.execute(mine).rowcount == 1

    def sweep(self, ended_before_s: float, limit: int = 100) -> int:
        """Takes away jobs that ended before, with their codes, the longest ended first; how many."""
        old = select(jobs.c.number).where(jobs.c.ended_s < ended_before_s).order_by(jobs.c.ended_s).limit(limit)
        with self.database.writing() as connection:
            # Those that another is busy with are left to it.
            numbers = connection.execute(old.with_for_update(skip_locked=True)).scalars().all()
            connection.execute(delete(jobs).where(jobs.c.number.in_(numbers)))
            return len(numbers)

    def candidates(self, limit: int, classes: Collection[QueueClass]) -> list[VariationId]:
        """Those of these classes that are due and held by nobody, in the order in which they should be taken.

        What was begun and left comes first; then by class. Within it tenants take turns, who has least under way first,
        and each tenant's oldest comes first.
        """
        with self.database.reading() as connection:
            return job_claims.candidates(connection, self._clock(connection), limit, classes)

    def begin(self, variation: VariationId, token: int) -> Begun | None:
        """What there is to do, by whoever has just got its lease; None where it has ended or a later one has begun."""
        with self.database.writing() as connection:
            row = job_saving.locked(connection, [variation]).get(variation)
            if row is None or row.state in ENDED or row.token > token:
                return None
            started_s = self._wall() if row.started_s is None else row.started_s
            _change(connection, row, state="running", token=token, attempts=row.attempts + 1, started_s=started_s)
            job_saving.touch(connection, [row.job])
            job = connection.execute(select(jobs).where(jobs.c.number == row.job)).one()
            return Begun(
                request=job_rows.request(job, row.seed),
                num_frames=row.num_frames,
                attempts=row.attempts + 1,
                resumption=job_reading.saved(connection, row),
            )

    def save(self, batch: Sequence[Saving]) -> set[VariationId]:
        """Saves all of it in one transaction, but for what is fenced: these are told.

        What was saved before is passed over when it comes again. Raises: ValueError, and nothing is saved, for frames
        that don't follow those saved or differ from them, for a start in place of that of saved frames, and for two
        savings of one variation under one token.
        """
        with self.database.writing() as connection:
            return job_saving.save(connection, batch)

    def succeed(self, variation: VariationId, token: int, health: SoundHealth | None = None) -> None:
        """All of it is made. Raises: Fenced; ValueError where frames are missing."""
        self._end(variation, token, "succeeded", {} if health is None else asdict(health))

    def fail(self, variation: VariationId, token: int, fault: Fault) -> None:
        """It is given up. Raises: Fenced."""
        self._end(variation, token, "failed", {"fault_type": fault.type, "fault_message": fault.message})

    def put_off(self, variation: VariationId, token: int, delay_s: float, failed: bool) -> None:
        """It waits for so long, an hour at most, for its next attempt; without a failure this one does not count.

        Raises: Fenced.
        """
        with self.database.writing() as connection:
            row = _ours(connection, variation, token)
            now = self._clock(connection)
            attempts = row.attempts if failed else max(0, row.attempts - 1)
            due_s = now.now_s + min(delay_s, job_claims.MAX_DELAY_S)
            _change(connection, row, due_era=now.era, due_s=due_s, attempts=attempts)
            if attempts != row.attempts:
                job_saving.touch(connection, [row.job])

    def start_over(self, variation: VariationId, token: int) -> None:
        """Drops what is saved of it, since nobody is left who could go on from there. Raises: Fenced."""
        with self.database.writing() as connection:
            row = _ours(connection, variation, token)
            job_saving.forget(connection, row.id)
            job_saving.touch(connection, [row.job])

    def check_integrity(self) -> None:
        """Raises: AssertionError for a broken database or rows that can't be; StoreError."""
        self.database.check_integrity()
        with self.database.reading() as connection:
            job_integrity.check(connection)

    def _end(self, variation: VariationId, token: int, state: JobState, told: Mapping[str, Any]) -> None:
        """told: more values of its row."""
        with self.database.writing() as connection:
            row = job_saving.locked(connection, [variation]).get(variation)
            if row is not None and (row.token, row.state) == (token, state):
                return  # the answer to the first time was lost
            row = _ours(connection, variation, token)
            if state == "succeeded" and row.frames < row.num_frames:
                raise ValueError(f"{row.frames} of {row.num_frames} frames are saved: it has not succeeded")
            now_s = self._wall()
            _change(connection, row, state=state, ended_s=now_s, **told)
            _ended(connection, row.job, now_s)


def _locked_job(connection: Connection, tenant: str, job_id: str) -> int | None:
    mine = select(jobs.c.number).where(jobs.c.tenant == tenant, jobs.c.id == job_id).with_for_update()
    return connection.execute(mine).scalar_one_or_none()


def _ours(connection: Connection, variation: VariationId, token: int) -> Row[Any]:
    """The variation, locked, where it runs under this token. Raises: Fenced."""
    row = job_saving.locked(connection, [variation]).get(variation)
    if row is None or row.token != token or row.state != "running":
        raise Fenced
    return row


def _change(connection: Connection, row: Row[Any], **values: Any) -> None:
    connection.execute(update(variations).where(variations.c.id == row.id).values(**values))


def _ended(connection: Connection, number: int, now_s: float) -> None:
    """One variation or more of this job, which is locked, came to an end."""
    goes_on = exists().where(variations.c.job == number, variations.c.state.not_in(ENDED))
    ended_s = case((goes_on, None), else_=now_s)
    connection.execute(update(jobs).where(jobs.c.number == number).values(version=jobs.c.version + 1, ended_s=ended_s))


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
