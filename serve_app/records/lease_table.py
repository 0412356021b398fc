"""Leases in a database. Each call waits for it, and is one short transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, or_, select, update

from serve_app.records.database import Database
from serve_app.records.database_error import Conflict
from serve_app.records.lease import MAX_LEASE_S, Lease, Taken
from serve_app.records.moment import Moment, moment
from serve_app.records.schema import MAX_TEXT, leases, swept_leases

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
