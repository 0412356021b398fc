"""Queries of jobs, and which variations to claim next. Each runs in a transaction of the caller's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import CTE, ColumnElement, Connection, Row, String, and_, case, cast, exists, func, literal, or_, select

from deployments.messages import QueueClass, Resumption
from deployments.scaling_stats import ModelQueue
from serve_app.database import job_rows
from serve_app.database.lease_table import ClockReading
from serve_app.database.schema import jobs, leases, variation_codes, variation_starts, variations
from serve_app.job import QUEUE_CLASSES, Job, VariationId
from serve_app.scaling.policy import Waiting
from serve_app.settings.storage import MAX_LEASE_S

# No variation is postponed for longer. One that seems to be is from another clock.
MAX_DELAY_S = 3600.0

_LEASE_PREFIX = "job/"
_ID_LENGTH = 32


def candidates(connection: Connection, now: ClockReading, limit: int, classes: Collection[QueueClass]) -> list[VariationId]:
    """As `JobTable.candidates`."""
    if not classes:
        return []
    held = _held(now)
    is_held = select(held.c.id).scalar_subquery()
    free = (
        select(*variations.c["job", "number", "tenant", "queue", "state"])
        .where(variations.c.state.in_(["running", "queued"]), variations.c.queue.in_(sorted(classes)), _is_due(now))
        .where(variations.c.id.not_in(is_held))
        .subquery()
    )
    has = select(held.c.tenant, func.count().label("number")).group_by(held.c.tenant).subquery()
    # A tenant's variations rank by how many the tenant has before them, running ones included.
    before = func.row_number().over(
        partition_by=(free.c.state, free.c.tenant, free.c.queue), order_by=(free.c.job, free.c.number)
    ) + func.coalesce(has.c.number, 0)
    ranked = select(free, before.label("before")).outerjoin_from(free, has, has.c.tenant == free.c.tenant).subquery()
    order = (
        case((ranked.c.state == "running", 0), else_=1),
        case({queue: rank for rank, queue in enumerate(QUEUE_CLASSES)}, value=ranked.c.queue),
        ranked.c.before,
        ranked.c.job,
        ranked.c.number,
    )
    chosen = connection.execute(select(ranked.c.job, ranked.c.number).order_by(*order).limit(limit)).all()
    # Not joined above, where it would run for all that wait.
    named = select(jobs.c.number, jobs.c.id).where(jobs.c.number.in_({row.job for row in chosen}))
    ids = {row.number: row.id for row in connection.execute(named)}
    return [VariationId(ids[row.job], row.number) for row in chosen]


def _held(now: ClockReading) -> CTE:
    """Variations whose lease is taken: there are few, so the query begins with the leases."""
    of_job = jobs.c.id == func.substr(leases.c.name, len(_LEASE_PREFIX) + 1, _ID_LENGTH)
    name = literal(_LEASE_PREFIX).concat(jobs.c.id).concat("/").concat(cast(variations.c.number, String))
    return (
        select(variations.c.id, variations.c.tenant)
        .select_from(leases.join(jobs, of_job).join(variations, variations.c.job == jobs.c.number))
        .where(_is_live(now), leases.c.name == name)
        .cte("held")
    )


def _is_live(now: ClockReading) -> ColumnElement[bool]:
    """By the rules of `LeaseTable`."""
    left_s = and_(leases.c.expires_s > now.now_s, leases.c.expires_s <= now.now_s + MAX_LEASE_S)
    return and_(leases.c.era == now.era, left_s, leases.c.holder != "")


def _is_due(now: ClockReading) -> ColumnElement[Any]:
    due_s = variations.c.due_s
    return or_(variations.c.due_era != now.era, due_s <= now.now_s, due_s > now.now_s + MAX_DELAY_S)


def found(connection: Connection, pairs: Collection[tuple[str, str]]) -> dict[str, Job]:
    """By id, the jobs that exist among these pairs of tenant and id."""
    wanted = set(pairs)
    rows = connection.execute(select(jobs).where(jobs.c.id.in_(sorted({job_id for _, job_id in wanted})))).all()
    return {job.id: job for job in _whole(connection, [row for row in rows if (row.tenant, row.id) in wanted])}


def submitted(connection: Connection, tenant: str, idempotency_key: str) -> tuple[Job, str] | None:
    """The job that was submitted with that key, and the digest of its body."""
    mine = select(jobs).where(jobs.c.tenant == tenant, jobs.c.idempotency_key == idempotency_key)
    row = connection.execute(mine).one_or_none()
    return None if row is None else (_whole(connection, [row])[0], row.body_digest)


def page(connection: Connection, tenant: str, limit: int, before: str | None) -> list[Job] | None:
    """Jobs, newest first; None where there is no job `before`."""
    mine = select(jobs).where(jobs.c.tenant == tenant).order_by(jobs.c.number.desc()).limit(limit)
    if before is not None:
        number = select(jobs.c.number).where(jobs.c.tenant == tenant, jobs.c.id == before)
        last = connection.execute(number).scalar_one_or_none()
        if last is None:
            return None
        mine = mine.where(jobs.c.number < last)
    return _whole(connection, connection.execute(mine).all())


def num_queued(connection: Connection, tenant: str) -> int:
    """Variations of a tenant that are queued."""
    mine = select(func.count()).where(variations.c.state == "queued", variations.c.tenant == tenant)
    return connection.execute(mine).scalar_one()


def backlog(connection: Connection) -> dict[ModelQueue, Waiting]:
    """Queued variations of all tenants, by model and queue class."""
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
    """All codes of a variation that has succeeded; else None."""
    mine = (
        select(variations)
        .join(jobs, jobs.c.number == variations.c.job)
        .where(jobs.c.id == job_id, jobs.c.tenant == tenant)
        .where(variations.c.number == number, variations.c.state == "succeeded")
    )
    row = connection.execute(mine).one_or_none()
    return None if row is None else saved(connection, row)


def saved(connection: Connection, variation: Row[Any]) -> Resumption | None:
    """What is saved of a variation; None for nothing, not even a start."""
    start = connection.execute(
        select(variation_starts).where(variation_starts.c.variation == variation.id)
    ).one_or_none()
    return None if start is None else job_rows.resumption(variation, start, parts(connection, variation.id))


def parts(connection: Connection, variation: int) -> Sequence[Row[Any]]:
    """The rows of a variation's codes, in their order."""
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
    """Positions in the queue by job number, from 1: among queued jobs of the same tenant and class."""
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
