"""The two databases, and opening one from its settings.

SQLite is a file for the processes of one machine. It has a write-ahead log, so that readers never wait. Writers take
turns: a transaction locks the file when it begins, since one that reads first and writes later fails with "locked" at
once. It tries at short intervals, because SQLite's own intervals grow, so that an old writer would wait behind new ones.
With `synchronous=NORMAL` a power loss may lose the last commits, and corrupts nothing.

PostgreSQL, through psycopg, is for the machines of a cluster.
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

from deployments.liveness.timings import uptime_s
from deployments.telemetry.metric import NOT_RECORDED, Recorder
from serve_app.database import schema
from serve_app.database.database import Database
from serve_app.database.lease_table import LeaseTable
from serve_app.database.leases import Leases
from serve_app.faults import Faults
from serve_app.settings.storage import DatabaseSettings
from serve_app.stores.threads import ThreadPool

_POLL_S = 0.01
_LOCK_POLL_S = 0.002

# The advisory lock of PostgreSQL that migrations hold: any number that nothing else in the database locks.
_MIGRATION_LOCK = 0x6D757369636765
# The first of the two numbers of a named lock; locks of two numbers are apart from those of one.
_NAMED_LOCK = 0x6D757369

_log = logging.getLogger("ray.serve.records")  # below Serve's own, whose files and format it shares


class SqliteDatabase(Database):
    """A file of SQLite.

    Args:
        path: of the file, created with its folder when needed, readable by its owner only. It must not be on a network
            file system.
        timeout_s: how long a writer waits for its turn.
        max_connections: one for each thread.
    """

    def __init__(self, path: Path, *, timeout_s: float, max_connections: int) -> None:
        engine = create_engine(
            URL.create("sqlite", database=str(path)),
            # Transactions begin in `_begin`, not in the driver, which begins them too late.
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
        # Connecting would create the file.
        return schema.BASE if self._file() is None else super().revision()

    def lock(self, connection: Connection, name: str) -> None:
        """Writers take turns anyway."""

    def _make_ready(self) -> None:
        file = self._file()
        if file is not None and file == self._ready_file:
            return
        # Connections to a deleted file go on without an error, and nobody else sees what they write.
        self.engine.dispose()
        self._open()
        file = self._file()
        self._bring_up_to_date()
        self._ready_file = file

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Not open(): closing any descriptor of the file would release the locks of this process.
        with contextlib.suppress(FileExistsError):
            os.mknod(self._path, 0o600)

    def _prepare(self, connection: Connection, *, writes: bool) -> None:
        connection.execution_options(writes=writes)

    def _migrate(self, target: str) -> None:
        with self._bare(writes=True) as connection:
            schema.migrate(connection, target)

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
            self._start_write_ahead_log(connection)
        cursor.close()

    def _start_write_ahead_log(self, connection: DBAPIConnection) -> None:
        """Retries, because this one statement fails with "locked" at once while another process runs it."""
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
            self._begin_to_write(connection)
        finally:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={math.ceil(1000 * self._timeout_s)}")

    def _begin_to_write(self, connection: Connection) -> None:
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
            time.sleep(_LOCK_POLL_S)
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # once more, for an error like that of any statement

    def _faults(self, connection: Connection) -> list[str]:
        found = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        faults = [] if found == ["ok"] else [str(each) for each in found]
        orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        return faults + [f"a row of {row[0]} belongs to none of {row[2]}" for row in orphans]


class PostgresqlDatabase(Database):
    """A database of PostgreSQL.

    Args:
        url: of SQLAlchemy.
        timeout_s: of connecting (at least two seconds, the lower bound of libpq) and of a statement.
        max_connections: one for each thread.

    Raises:
        ModuleNotFoundError: psycopg is not installed.
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
            # Finds a connection that the server has closed, by a restart for example, before it is used.
            pool_pre_ping=True,
            hide_parameters=True,
        )
        super().__init__(engine, f"PostgreSQL at {url.host or 'its socket'}")
        self._timeout_ms = math.ceil(1000 * timeout_s)
        self._is_ready = False
        event.listen(engine, "connect", self._set_up)

    def lock(self, connection: Connection, name: str) -> None:
        # Two names with the same number wait for each other, which does no harm.
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big", signed=True)
        numbers = {"kind": _NAMED_LOCK, "number": number}
        connection.execute(text("SELECT pg_advisory_xact_lock(:kind, :number)"), numbers)

    def _make_ready(self) -> None:
        if not self._is_ready:
            self._bring_up_to_date()
            self._is_ready = True

    def _open(self) -> None:
        """A server runs or not; there is nothing to create."""

    def _prepare(self, connection: Connection, *, writes: bool) -> None:
        if not writes:
            # Otherwise each statement would see another state.
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def _migrate(self, target: str) -> None:
        with self._bare(writes=True) as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            schema.migrate(connection, target)

    def _set_up(self, connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET statement_timeout = {self._timeout_ms}")
        cursor.execute(f"SET idle_in_transaction_session_timeout = {self._timeout_ms}")
        cursor.close()
        connection.commit()

    def _faults(self, connection: Connection) -> list[str]:
        return []  # it checks its pages as it reads them


def open_database(settings: DatabaseSettings) -> Database:
    """The database; nothing is read or connected to yet.

    Raises: ModuleNotFoundError for PostgreSQL where psycopg is not installed.
    """
    url, timeout_s, max_connections = settings.resolved_url, settings.timeout_s, settings.max_connections
    if url.drivername == "sqlite":
        return SqliteDatabase(Path(url.database or ""), timeout_s=timeout_s, max_connections=max_connections)
    return PostgresqlDatabase(url, timeout_s=timeout_s, max_connections=max_connections)


def open_leases(
    settings: DatabaseSettings, database: Database | None = None, recorder: Recorder = NOT_RECORDED
) -> Leases:
    """Leases with a holder name of their own. Closing them closes the database.

    Args:
        settings: of the database.
        database: None: one is opened from the settings.
        recorder: counts their faults.

    Raises:
        ModuleNotFoundError: as `open_database`.
    """
    table = LeaseTable(database or open_database(settings), lease_s=settings.lease_s)
    threads = ThreadPool(settings.max_connections, "database")
    faults = Faults(uptime_s, _log, recorder=recorder.labelled(store="leases"))
    return Leases(table, threads, faults, holder=process_name(), timeout_s=settings.timeout_s)


def process_name() -> str:
    """A name of this process that no other has, even when its number is used again: `host/process/random`."""
    return f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
