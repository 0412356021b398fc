"""Which variations whoever has a place free should take next."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import CTE, ColumnElement, Connection, String, and_, case, cast, func, literal, or_, select

from deployments.messages import QueueClass
from serve_app.jobs.job import QUEUE_CLASSES
from serve_app.records.lease import MAX_LEASE_S
from serve_app.records.moment import Moment
from serve_app.records.schema import jobs, leases, variations
from serve_app.records.variation import VariationId

# None is put off for longer, so one that seems to be is from another clock.
MAX_DELAY_S = 3600.0

_PREFIX = "job/"
_ID_LENGTH = 32


def candidates(connection: Connection, now: Moment, limit: int, classes: Collection[QueueClass]) -> list[VariationId]:
    """Those due and held by nobody: what was begun and left first, then by class; within it tenants take turns."""
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
    # A tenant's next one stands as far back as the tenant has others before it, those under way included.
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
    # Not joined above, where it would be done for all that wait.
    named = select(jobs.c.number, jobs.c.id).where(jobs.c.number.in_({row.job for row in chosen}))
    ids = {row.number: row.id for row in connection.execute(named)}
    return [VariationId(ids[row.job], row.number) for row in chosen]


def _held(now: Moment) -> CTE:
    """Variations with a lease that somebody has: few, so they are looked for from the leases' side."""
    of_job = jobs.c.id == func.substr(leases.c.name, len(_PREFIX) + 1, _ID_LENGTH)
    name = literal(_PREFIX).concat(jobs.c.id).concat("/").concat(cast(variations.c.number, String))
    return (
        select(variations.c.id, variations.c.tenant)
        .select_from(leases.join(jobs, of_job).join(variations, variations.c.job == jobs.c.number))
        .where(_is_live(now), leases.c.name == name)
        .cte("held")
    )


def _is_live(now: Moment) -> ColumnElement[bool]:
    """As `LeaseTable` tells it."""
    left_s = and_(leases.c.expires_s > now.now_s, leases.c.expires_s <= now.now_s + MAX_LEASE_S)
    return and_(leases.c.era == now.era, left_s, leases.c.holder != "")


def _is_due(now: Moment) -> ColumnElement[Any]:
    due_s = variations.c.due_s
    return or_(variations.c.due_era != now.era, due_s <= now.now_s, due_s > now.now_s + MAX_DELAY_S)
