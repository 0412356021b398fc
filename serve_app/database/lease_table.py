"""The time by which leases expire: one that all their holders share, and that nobody sets.

SQLite: the holders are on one machine, so it is the time since its boot. That is one clock for all processes, goes on
while the machine sleeps, and is not moved with the wall clock; it begins anew at a boot, so the boot is a part of it.
PostgreSQL: the server's clock, for its clients' clocks differ.

What a lease is: the right to do a thing alone, for a while.

Leases in a database. Each call waits for it, and is one short transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Double, Row, and_, cast, delete, extract, func, insert, or_, select, update

from serve_app.database.database import Conflict, Database
from serve_app.database.schema import MAX_TEXT, leases, swept_leases
from serve_app.settings.storage import MAX_LEASE_S

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux has it


@dataclass(frozen=True)
class Moment:
    """now_s: seconds, comparable within an era. era: a boot of the machine; empty where there is but one."""

    now_s: float
    era: str


def uptime_s() -> float:
    """Seconds since boot, those that the machine or this process slept included."""
    return time.clock_gettime(_SINCE_BOOT)


def moment(connection: Connection) -> Moment:
    """Now, for whatever is kept in this database. Raises: sqlalchemy.exc.SQLAlchemyError."""
    if connection.dialect.name == "sqlite":
        return Moment(uptime_s(), _boot_id())
    seconds = cast(extract("epoch", func.clock_timestamp()), Double)
    return Moment(connection.execute(select(seconds)).scalar_one(), "")


def _boot_id() -> str:
    # Without one (not Linux) a lease from before a boot is told by MAX_LEASE_S, or waited for.
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""


@dataclass(frozen=True)
class Lease:
    """One grant. token: larger than in any grant of this name before, so that whoever is written to can tell which of
    two holders is the later one.
    """

    name: str
    holder: str
    token: int


@dataclass(frozen=True)
class Held:
    """The lease is ours. sure_until_s: until when it is nobody else's, by `uptime_s` of this process."""

    lease: Lease
    sure_until_s: float


@dataclass(frozen=True)
class Taken:
    """Another has it. value: what the holder gave with it. expires_in_s: unless renewed; above 0."""

    holder: str
    value: str
    expires_in_s: float


# By then nobody comes back with it. A new name takes away several that are old, so the table shrinks to what is not.
_OLD_S = 3600.0
_SWEPT_AT_ONCE = 10


class LeaseTable:
    """Of two that want a name at once, from whatever process, one gets it. Safe for many threads.

    lease_s: how long a lease lasts unless it is renewed. clock: the moment by which leases expire. Every call raises
    StoreError where the database can't do it; then nothing was done, but for a commit whose answer was lost.
    """

    def __init__(self, database: Database, *, lease_s: float, clock: Callable[[Connection], Moment] = moment) -> None:
        self.database = database
        self.lease_s = lease_s
        self._clock = clock

    def take(self, name: str, holder: str, value: str = "") -> Lease | Taken:
        """The lease, where nobody has it or its time is over; even its holder does not get it twice.

        value: told to whoever does not get it. Raises: ValueError for texts too long or not printable.
        """
        for text in (name, holder, value):
            if len(text) > MAX_TEXT or not text.isprintable():
                raise ValueError(f"the name, holder and value of a lease are {MAX_TEXT} printable characters at most")
        if not name or not holder:
            raise ValueError("a lease has a name and a holder")
        try:
            return self._take(name, holder, value)
        except Conflict:
            # In PostgreSQL a new row can come between our look and our own. SQLite's writers take turns.
            return self._take(name, holder, value)

    def renew(self, lease: Lease) -> bool:
        """Whether it is ours for another `lease_s`; False: lost for good.

        One whose time was over is renewed if nobody has taken it since: then nobody else held it for a moment, as the
        token shows, and a short outage or a long pause costs nothing.
        """
        with self.database.writing() as connection:
            now = self._clock(connection)
            renewed = connection.execute(
                update(leases).where(_is(lease)).values(era=now.era, expires_s=now.now_s + self.lease_s)
            )
            return renewed.rowcount == 1

    def release(self, lease: Lease) -> None:
        """Gives it back, if it is still ours."""
        with self.database.writing() as connection:
            now = self._clock(connection)
            connection.execute(
                update(leases).where(_is(lease)).values(holder="", value="", era=now.era, expires_s=now.now_s)
            )

    def peek(self, name: str) -> Taken | None:
        """Who has it; None: nobody."""
        with self.database.reading() as connection:
            row = connection.execute(select(leases).where(leases.c.name == name)).one_or_none()
            return None if row is None else _taken(row, self._clock(connection))

    def check_integrity(self) -> None:
        """Raises: AssertionError for a broken database or rows that can't be; StoreError."""
        self.database.check_integrity()
        with self.database.reading() as connection:
            assert connection.execute(select(swept_leases.c.id)).scalars().all() == [1], "no count of swept tokens"
            for row in connection.execute(select(leases)):
                assert row.name, "a lease without a name"
                assert row.token >= 1, f"{row.name}: a token that was never given"
                assert row.holder or not row.value, f"{row.name}: a value that nobody gave"

    def close(self) -> None:
        self.database.close()

    def _take(self, name: str, holder: str, value: str) -> Lease | Taken:
        with self.database.writing() as connection:
            row = connection.execute(select(leases).where(leases.c.name == name).with_for_update()).one_or_none()
            now = self._clock(connection)
            taken = None if row is None else _taken(row, now)
            if taken is not None:
                return taken
            granted: dict[str, Any] = {
                "holder": holder,
                "value": value,
                "era": now.era,
                "expires_s": now.now_s + self.lease_s,
            }
            if row is not None:
                lease = Lease(name, holder, row.token + 1)
                connection.execute(update(leases).where(leases.c.name == name).values(token=lease.token, **granted))
                return lease
            # Locked, so that a row that came after our look can't be swept away before our own comes.
            highest = connection.execute(select(swept_leases.c.highest_token).with_for_update()).scalar_one()
            lease = Lease(name, holder, highest + 1)
            connection.execute(insert(leases).values(name=name, token=lease.token, **granted))
            _sweep(connection, now)
            return lease


def _is(lease: Lease) -> Any:
    return and_(leases.c.name == lease.name, leases.c.holder == lease.holder, leases.c.token == lease.token)


def _taken(row: Row[Any], now: Moment) -> Taken | None:
    """None for a lease that is over, was given back, or is from another clock."""
    left_s = row.expires_s - now.now_s
    if row.era != now.era or not row.holder or not 0 < left_s <= MAX_LEASE_S:
        return None
    return Taken(row.holder, row.value, left_s)


def _sweep(connection: Connection, now: Moment) -> None:
    """Takes some old rows away, but for the highest of their tokens."""
    # In two halves, since an index helps with `<` and `>` and not with `!=`.
    is_old = or_(
        and_(leases.c.era == now.era, leases.c.expires_s < now.now_s - _OLD_S),
        leases.c.era < now.era,
        leases.c.era > now.era,
    )
    # Those that another is busy with are left to it: two that sweep never wait for each other's rows.
    some = select(leases.c.name, leases.c.token).where(is_old).limit(_SWEPT_AT_ONCE).with_for_update(skip_locked=True)
    rows = connection.execute(some).all()
    if rows:
        highest = max(row.token for row in rows)
        connection.execute(delete(leases).where(leases.c.name.in_([row.name for row in rows])))
        connection.execute(
            update(swept_leases).where(swept_leases.c.highest_token < highest).values(highest_token=highest)
        )
