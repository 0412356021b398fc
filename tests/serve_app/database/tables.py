"""Databases of tests, and a clock that they set."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection

from serve_app.database.database import Database
from serve_app.database.engines import SqliteDatabase
from serve_app.database.lease_table import ClockReading, LeaseTable

LEASE_S = 15.0


class Clock:
    """A database's time, which passes when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.boots = 0

    def __call__(self, connection: Connection | None = None) -> ClockReading:
        del connection
        return ClockReading(self.now_s, f"boot {self.boots}")

    def boot(self) -> None:
        """The machine starts anew, and its clock with it."""
        self.boots += 1
        self.now_s = 10.0


def database(folder: Path, *, timeout_s: float = 60.0, max_connections: int = 2) -> Database:
    """The folder's database, opened once more."""
    return SqliteDatabase(folder / "records.sqlite", timeout_s=timeout_s, max_connections=max_connections)


@contextlib.contextmanager
def lease_table(folder: Path, clock: Clock, *, timeout_s: float = 60.0) -> Iterator[LeaseTable]:
    """The leases in the folder's database; what they end with is whole."""
    table = LeaseTable(database(folder, timeout_s=timeout_s), lease_s=LEASE_S, clock=clock)
    try:
        yield table
        table.check_integrity()
    finally:
        table.close()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Somebody else writes to the folder's database, and takes their time."""
    writer = sqlite3.connect(folder / "records.sqlite", isolation_level=None)
    try:
        writer.execute("BEGIN IMMEDIATE")
        yield
    finally:
        writer.close()
