"""SQLite: a file for the processes of one machine.

It has a write-ahead log, so that nobody waits to read. Writers take turns: a transaction asks for its turn when it
begins, since one that has read first and writes then is told "locked" at once. It asks at short intervals: SQLite by
itself would ask ever more seldom, and whoever has waited long would stand behind all who come new. With
`synchronous=NORMAL` a loss of power may take the last commits with it, and breaks nothing.

PostgreSQL, through psycopg: for the machines of a cluster.

From settings to a database and the leases in it: the one place that says which parts they are made of.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import secrets
import socket
import sqlite3
import time
from pathlib import Path

from sqlalchemy import URL, Connection, create_engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from deployments.telemetry.metric import NOT_RECORDED, Recorder
from serve_app.database import migration
from serve_app.database.database import Database
from serve_app.database.lease_table import LeaseTable, uptime_s
from serve_app.database.leases import Leases
from serve_app.faults import Faults
from serve_app.settings.storage import RecordsSettings
from serve_app.stores.threads import Threads

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


# Held by whoever changes the tables; any number that nothing else in the database locks.
_CHANGING_TABLES = 0x6D757369636765
# Before the number of a turn; locks of two numbers are apart from those of one.
_TURN = 0x6D757369


class PostgresqlDatabase(Database):
    """timeout_s: of connecting (two seconds at least: libpq's own bound) and of a statement. max_connections: one for
    each thread. Raises: ModuleNotFoundError where psycopg is not installed.
    """

    def __init__(self, url: URL, *, timeout_s: float, max_connections: int) -> None:
        engine = create_engine(
            url,
            connect_args={
                "connect_timeout": max(2, math.ceil(timeout_s)),
                "tcp_user_timeout": math.ceil(1000 * timeout_s),
            },
            isolation_level="READ COMMITTED",
            pool_size=max_connections,
            max_overflow=0,
            pool_timeout=timeout_s,
            # One that the server has closed, at its restart say, is found out before it is used.
            pool_pre_ping=True,
            hide_parameters=True,
        )
        super().__init__(engine, f"PostgreSQL at {url.host or 'its socket'}")
        self._timeout_ms = math.ceil(1000 * timeout_s)
        self._is_ready = False
        event.listen(engine, "connect", self._set_up)

    def turn(self, connection: Connection, name: str) -> None:
        # Two names of one number wait for each other now and then, which does no harm.
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big", signed=True)
        connection.execute(text("SELECT pg_advisory_xact_lock(:turn, :number)"), {"turn": _TURN, "number": number})

    def _make_ready(self) -> None:
        if not self._is_ready:
            self._bring_up_to_date()
            self._is_ready = True

    def _open(self) -> None:
        """A server is there or it isn't."""

    def _prepare(self, connection: Connection, *, writes: bool) -> None:
        if not writes:
            # Else each statement sees a state of its own.
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def _move(self, target: str) -> None:
        with self._bare(writes=True) as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CHANGING_TABLES})
            migration.move(connection, target)

    def _set_up(self, connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET statement_timeout = {self._timeout_ms}")
        cursor.execute(f"SET idle_in_transaction_session_timeout = {self._timeout_ms}")
        cursor.close()
        connection.commit()

    def _faults(self, connection: Connection) -> list[str]:
        return []  # it checks its pages as it reads them


_log = logging.getLogger("ray.serve.records")  # below Serve's own, whose files and format it shares


def open_database(settings: RecordsSettings) -> Database:
    """The database; nothing is read or connected to yet.

    Raises: ModuleNotFoundError for PostgreSQL where psycopg is not installed.
    """
    url, timeout_s, max_connections = settings.database, settings.timeout_s, settings.max_connections
    if url.drivername == "sqlite":
        return SqliteDatabase(Path(url.database or ""), timeout_s=timeout_s, max_connections=max_connections)
    return PostgresqlDatabase(url, timeout_s=timeout_s, max_connections=max_connections)


def open_leases(
    settings: RecordsSettings, database: Database | None = None, recorder: Recorder = NOT_RECORDED
) -> Leases:
    """The leases, of a holder of its own, in this database or one opened for them; closing them closes it.

    Raises: as `open_database`.
    """
    table = LeaseTable(database or open_database(settings), lease_s=settings.lease_s)
    threads = Threads(settings.max_connections, "records")
    faults = Faults(uptime_s, _log, recorder=recorder.labelled(store="leases"))
    return Leases(table, threads, faults, holder=own_name(), timeout_s=settings.timeout_s)


def own_name() -> str:
    """Like no other process's, also after a number of a process is used again: `host/process/random`."""
    return f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
