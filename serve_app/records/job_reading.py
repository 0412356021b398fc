"""What is asked of jobs, each in a transaction of the caller's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, exists, func, select

from deployments.messages import Resumption
from deployments.scaling_stats import Place
from serve_app.jobs.job import Job
from serve_app.records import job_rows
from serve_app.records.schema import jobs, variation_codes, variation_starts, variations
from serve_app.scaling.waiting import Waiting


def found(connection: Connection, pairs: Collection[tuple[str, str]]) -> dict[str, Job]:
    """By id, those of the tenants and ids that there are."""
    wanted = set(pairs)
    rows = connection.execute(select(jobs).where(jobs.c.id.in_(sorted({job_id for _, job_id in wanted})))).all()
    return {job.id: job for job in _whole(connection, [row for row in rows if (row.tenant, row.id) in wanted])}


def submitted(connection: Connection, tenant: str, idempotency_key: str) -> tuple[Job, str] | None:
    """The job that came with that key, and the digest of its body."""
    mine = select(jobs).where(jobs.c.tenant == tenant, jobs.c.idempotency_key == idempotency_key)
    row = connection.execute(mine).one_or_none()
    return None if row is None else (_whole(connection, [row])[0], row.body_digest)


def page(connection: Connection, tenant: str, limit: int, before: str | None) -> list[Job] | None:
    """Newest first; None where there is no job `before`."""
    mine = select(jobs).where(jobs.c.tenant == tenant).order_by(jobs.c.number.desc()).limit(limit)
    if before is not None:
        number = select(jobs.c.number).where(jobs.c.tenant == tenant, jobs.c.id == before)
        last = connection.execute(number).scalar_one_or_none()
        if last is None:
            return None
        mine = mine.where(jobs.c.number < last)
    return _whole(connection, connection.execute(mine).all())


def num_queued(connection: Connection, tenant: str) -> int:
    """Variations that have not begun."""
    mine = select(func.count()).where(variations.c.state == "queued", variations.c.tenant == tenant)
    return connection.execute(mine).scalar_one()


def backlog(connection: Connection) -> dict[Place, Waiting]:
    """Variations that have not begun, by model and queue class."""
    frames = func.sum(variations.c.num_frames)
    queued = (
        select(jobs.c.model, variations.c.queue, func.count(), frames)
        .join(jobs, jobs.c.number == variations.c.job)
        .where(variations.c.state == "queued")
        .group_by(jobs.c.model, variations.c.queue)
    )
    rows = connection.execute(queued).all()
    return {(model, queue): Waiting(number, int(num_frames)) for model, queue, number, num_frames in rows}


def made(connection: Connection, tenant: str, job_id: str, number: int) -> Resumption | None:
    """All of a variation that has succeeded."""
    mine = (
        select(variations)
        .join(jobs, jobs.c.number == variations.c.job)
        .where(jobs.c.id == job_id, jobs.c.tenant == tenant)
        .where(variations.c.number == number, variations.c.state == "succeeded")
    )
    row = connection.execute(mine).one_or_none()
    return None if row is None else saved(connection, row)


def saved(connection: Connection, variation: Row[Any]) -> Resumption | None:
    """What is saved of a variation; None where it has not even a start."""
    start = connection.execute(
        select(variation_starts).where(variation_starts.c.variation == variation.id)
    ).one_or_none()
    return None if start is None else job_rows.resumption(variation, start, parts(connection, variation.id))


def parts(connection: Connection, variation: int) -> Sequence[Row[Any]]:
    """A variation's codes, in their order."""
    mine = select(variation_codes).where(variation_codes.c.variation == variation)
    return connection.execute(mine.order_by(variation_codes.c.first_frame)).all()


def _whole(connection: Connection, rows: Sequence[Row[Any]]) -> list[Job]:
    """The jobs of these rows, in their order."""
    numbers = [row.number for row in rows]
    by_job: dict[int, list[Row[Any]]] = defaultdict(list)
    theirs = select(variations).where(variations.c.job.in_(numbers)).order_by(variations.c.job, variations.c.number)
    for each in connection.execute(theirs):
        by_job[each.job].append(each)
    waiting = [row for row in rows if all(each.state == "queued" for each in by_job[row.number])]
    positions = _positions(connection, waiting) if waiting else {}
    return [job_rows.job(row, by_job[row.number], positions.get(row.number)) for row in rows]


def _positions(connection: Connection, rows: Sequence[Row[Any]]) -> dict[int, int]:
    """By number, of jobs of which nothing has begun: from 1, among their own tenant's and class's like that."""
    first, other = variations.alias(), variations.alias()
    place = func.row_number().over(partition_by=(first.c.tenant, first.c.queue), order_by=first.c.job)
    queue = (
        select(first.c.job, place.label("position"))
        .where(first.c.state == "queued", first.c.number == 0)
        .where(first.c.tenant.in_(sorted({row.tenant for row in rows})))
        .where(~exists().where(other.c.job == first.c.job, other.c.state != "queued"))
        .subquery()
    )
    mine = select(queue).where(queue.c.job.in_([row.number for row in rows]))
    return {row.job: row.position for row in connection.execute(mine)}
