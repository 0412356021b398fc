"""Leases in a database: the exclusive right to do something, for a while. Each call blocks, in one short transaction.

All holders share the clock by which leases expire. With SQLite they are on one machine, and it is the time since boot:
it goes on while the machine sleeps and does not move with the wall clock. It begins anew at a boot, so a reading names
the boot. With PostgreSQL it is the server's clock, since its clients' clocks differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Double, Row, and_, cast, delete, extract, func, insert, or_, select, update

from deployments.liveness.timings import uptime_s
from serve_app.database.database import Database, RowExists
from serve_app.database.schema import MAX_TEXT, leases, swept_leases
from serve_app.settings.storage import MAX_LEASE_S

# By then nobody comes back with a lease. A new name deletes several old rows, so the table shrinks to what is not old.
_OLD_S = 3600.0
_SWEPT_AT_ONCE = 10

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class ClockReading:
    """now_s: seconds, comparable within an era. era: a boot of the machine; empty where there is only one."""

    now_s: float
    era: str


def read_clock(connection: Connection) -> ClockReading:
    """The clock of this database's leases. Raises: sqlalchemy.exc.SQLAlchemyError."""
    if connection.dialect.name == "sqlite":
        return ClockReading(uptime_s(), _boot_id())
    seconds = cast(extract("epoch", func.clock_timestamp()), Double)
    return ClockReading(connection.execute(select(seconds)).scalar_one(), "")


def _boot_id() -> str:
    # Without one (not on Linux) a lease from before a boot is recognised by MAX_LEASE_S, or waited for.
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""


@dataclass(frozen=True)
class Lease:
    """One grant. token: larger than in any earlier grant of this name, so that a write shows which of two holders is
    the later one (a fencing token).
    """

    name: str
    holder: str
    token: int


@dataclass(frozen=True)
class HeldLease:
    """The lease is ours. sure_until_s: until then nobody else can have it, by `uptime_s` of this process."""

    lease: Lease
    sure_until_s: float


@dataclass(frozen=True)
class TakenLease:
    """Another holder has it. value: the holder's. expires_in_s: unless it is renewed; above 0."""

    holder: str
    value: str
    expires_in_s: float


class LeaseTable:
    """Of several processes that take a name at once, one gets it. Safe for many threads.

    Every call raises StoreError where the database fails. Then nothing was changed, unless the answer to a commit was
    lost.

    Args:
        database: of the leases.
        lease_s: how long a lease lasts unless it is renewed.
        clock: reads the clock by which leases expire.
    """

    def __init__(
        self, database: Database, *, lease_s: float, clock: Callable[[Connection], ClockReading] = read_clock
    ) -> None:
        self.database = database
        self.lease_s = lease_s
        self._clock = clock

    def take(self, name: str, holder: str, value: str = "") -> Lease | TakenLease:
        """Takes the lease if it is free or has expired; even its holder does not get it twice.

        Args:
            name: of the lease.
            holder: who takes it.
            value: is shown to those who do not get it.

        Raises:
            ValueError: a text is too long or not printable.
        """
        for text in (name, holder, value):
            if len(text) > MAX_TEXT or not text.isprintable():
                raise ValueError(f"the name, holder and value of a lease are {MAX_TEXT} printable characters at most")
        if not name or not holder:
            raise ValueError("a lease has a name and a holder")
        try:
            return self._take(name, holder, value)
        except RowExists:
            # In PostgreSQL another row can appear between our read and our write. SQLite's writers take turns.
            return self._take(name, holder, value)

    def renew(self, lease: Lease) -> bool:
        """Returns whether it is ours for another `lease_s`; False: it is lost for good.

        An expired lease is renewed if nobody has taken it since. As the token shows, nobody else held it meanwhile, so
        a short outage or a long pause costs nothing.
        """
        with self.database.writing() as connection:
            now = self._clock(connection)
            renewed = connection.execute(
                update(leases).where(_is(lease)).values(era=now.era, expires_s=now.now_s + self.lease_s)
            )
            return renewed.rowcount == 1

    def release(self, lease: Lease) -> None:
        """Releases it, if it is still ours."""
        with self.database.writing() as connection:
            now = self._clock(connection)
            connection.execute(
                update(leases).where(_is(lease)).values(holder="", value="", era=now.era, expires_s=now.now_s)
            )

    def peek(self, name: str) -> TakenLease | None:
        """Who has it; None where nobody has."""
        with self.database.reading() as connection:
            row = connection.execute(select(leases).where(leases.c.name == name)).one_or_none()
            return None if row is None else _taken(row, self._clock(connection))

    def check_integrity(self) -> None:
        """Raises: AssertionError for a broken database or rows that contradict each other; StoreError."""
        self.database.check_integrity()
        with self.database.reading() as connection:
            assert connection.execute(select(swept_leases.c.id)).scalars().all() == [1], "no count of swept tokens"
            for row in connection.execute(select(leases)):
                assert row.name, "a lease without a name"
                assert row.token >= 1, f"{row.name}: a token that was never given"
                assert row.holder or not row.value, f"{row.name}: a value that nobody gave"

    def close(self) -> None:
        """Closes the database."""
        self.database.close()

    def _take(self, name: str, holder: str, value: str) -> Lease | TakenLease:
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
            # Locked, so that a row inserted after our read cannot be swept before we insert ours.
            highest = connection.execute(select(swept_leases.c.highest_token).with_for_update()).scalar_one()
            lease = Lease(name, holder, highest + 1)
            connection.execute(insert(leases).values(name=name, token=lease.token, **granted))
            _sweep(connection, now)
            return lease


def _is(lease: Lease) -> Any:
    return and_(leases.c.name == lease.name, leases.c.holder == lease.holder, leases.c.token == lease.token)


def _taken(row: Row[Any], now: ClockReading) -> TakenLease | None:
    """None for a lease that has expired, was released, or is from another clock."""
    left_s = row.expires_s - now.now_s
    if row.era != now.era or not row.holder or not 0 < left_s <= MAX_LEASE_S:
        return None
    return TakenLease(row.holder, row.value, left_s)


def _sweep(connection: Connection, now: ClockReading) -> None:
    """Deletes some old rows, and remembers the highest of their tokens."""
    # In two halves, since an index serves `<` and `>`, but not `!=`.
    is_old = or_(
        and_(leases.c.era == now.era, leases.c.expires_s < now.now_s - _OLD_S),
        leases.c.era < now.era,
        leases.c.era > now.era,
    )
    # Rows that another transaction has locked are left to it, so that two sweeps never wait for each other.
    some = select(leases.c.name, leases.c.token).where(is_old).limit(_SWEPT_AT_ONCE).with_for_update(skip_locked=True)
    rows = connection.execute(some).all()
    if rows:
        highest = max(row.token for row in rows)
        connection.execute(delete(leases).where(leases.c.name.in_([row.name for row in rows])))
        connection.execute(
            update(swept_leases).where(swept_leases.c.highest_token < highest).values(highest_token=highest)
        )
