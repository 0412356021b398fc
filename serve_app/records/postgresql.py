"""PostgreSQL, through psycopg: for the machines of a cluster."""

from __future__ import annotations

import math

from sqlalchemy import URL, Connection, create_engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from serve_app.records import schema
from serve_app.records.database import Database

# Held by whoever makes the tables; any number that nothing else in the database locks.
_MAKING_TABLES = 0x6D757369636765


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

    def _make_ready(self) -> None:
        if self._is_ready:
            return
        with self.engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MAKING_TABLES})
            schema.create(connection)
        self._is_ready = True

    def _set_up(self, connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET statement_timeout = {self._timeout_ms}")
        cursor.execute(f"SET idle_in_transaction_session_timeout = {self._timeout_ms}")
        cursor.close()
        connection.commit()

    def _faults(self, connection: Connection) -> list[str]:
        return []  # it checks its pages as it reads them
