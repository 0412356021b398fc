"""SQLite: a file for the processes of one machine.

It has a write-ahead log, so that nobody waits to read. Writers take turns: a transaction asks for its turn when it
begins, since one that has read first and writes then is told "locked" at once. It asks at short intervals: SQLite by
itself would ask ever more seldom, and whoever has waited long would stand behind all who come new. With
`synchronous=NORMAL` a loss of power may take the last commits with it, and breaks nothing.
"""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
import time
from pathlib import Path

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from serve_app.records import migration
from serve_app.records.database import Database

_POLL_S = 0.01
_TURN_POLL_S = 0.002


class SqliteDatabase(Database):
    """path: of the file, made with its folder when first needed, for its owner only. A network's file system won't do.

    timeout_s: how long a writer waits for its turn. max_connections: one for each thread.
    """

    def __init__(self, path: Path, *, timeout_s: float, max_connections: int) -> None:
        engine = create_engine(
            URL.create("sqlite", database=str(path)),
            # Transactions are begun below, not by the driver, which begins them too late.
            connect_args={"timeout": timeout_s, "isolation_level": None},
            pool_size=max_connections,
            max_overflow=0,
            pool_timeout=timeout_s,
            hide_parameters=True,
        )
        super().__init__(engine, str(path))
        self._path = path
        self._timeout_s = timeout_s
        self._ready_file: tuple[int, int] | None = None
        event.listen(engine, "connect", self._set_up)
        event.listen(engine, "begin", self._begin)

    def revision(self) -> str:
        # To connect would make the file.
        return migration.BASE if self._file() is None else super().revision()

    def turn(self, connection: Connection, name: str) -> None:
        """Writers take turns anyway."""

    def _make_ready(self) -> None:
        file = self._file()
        if file is not None and file == self._ready_file:
            return
        # Connections to a file that was deleted go on without an error, and nobody else sees what they write.
        self.engine.dispose()
        self._open()
        file = self._file()
        self._bring_up_to_date()
        self._ready_file = file

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Not open(): to close any descriptor of the file would take the locks of this process from it.
        with contextlib.suppress(FileExistsError):
            os.mknod(self._path, 0o600)

    def _prepare(self, connection: Connection, *, writes: bool) -> None:
        connection.execution_options(writes=writes)

    def _move(self, target: str) -> None:
        with self._bare(writes=True) as connection:
            migration.move(connection, target)

    def _file(self) -> tuple[int, int] | None:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return None
        return stat.st_dev, stat.st_ino

    def _set_up(self, connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA journal_mode")
        if cursor.fetchone() != ("wal",):
            self._start_log(connection)
        cursor.close()

    def _start_log(self, connection: DBAPIConnection) -> None:
        """This one thing does not wait while another does it: "locked" is said at once."""
        until = time.monotonic() + self._timeout_s
        while True:
            try:
                connection.cursor().execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() >= until:
                    raise
            time.sleep(_POLL_S)

    def _begin(self, connection: Connection) -> None:
        if not connection.get_execution_options()["writes"]:
            connection.exec_driver_sql("BEGIN")
            return
        connection.exec_driver_sql("PRAGMA busy_timeout=0")
        try:
            self._wait_for_turn(connection)
        finally:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={math.ceil(1000 * self._timeout_s)}")

    def _wait_for_turn(self, connection: Connection) -> None:
        raw = connection.connection.dbapi_connection
        assert raw is not None
        until = time.monotonic() + self._timeout_s
        while time.monotonic() < until:
            try:
                raw.cursor().execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    break
            time.sleep(_TURN_POLL_S)
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # once more, for an error as of any statement

    def _faults(self, connection: Connection) -> list[str]:
        found = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        faults = [] if found == ["ok"] else [str(each) for each in found]
        orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        return faults + [f"a row of {row[0]} belongs to none of {row[2]}" for row in orphans]
