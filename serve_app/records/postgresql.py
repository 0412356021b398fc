"""PostgreSQL, through psycopg: for the machines of a cluster."""

from __future__ import annotations

import hashlib
import math

from sqlalchemy import URL, Connection, create_engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from serve_app.records import migration
from serve_app.records.database import Database

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
