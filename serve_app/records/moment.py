"""The time by which leases expire: one that all their holders share, and that nobody sets.

SQLite: the holders are on one machine, so it is the time since its boot. That is one clock for all processes, goes on
while the machine sleeps, and is not moved with the wall clock; it begins anew at a boot, so the boot is a part of it.
PostgreSQL: the server's clock, for its clients' clocks differ.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Double, cast, extract, func, select

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
