"""What a database's errors mean to those who can do without it.

A database: its transactions, its tables, which are brought up to date when first needed, and its faults.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from serve_app.database import migration
from serve_app.stores.store import StoreDenied, StoreError, StoreFull, StoreTimeout, StoreUnreachable


class Conflict(StoreError):
    """Another made the same row at the same moment; it is there now."""


# SQLite's own words (sqlite3_errstr); Python has had its codes since 3.11 only.
_KIND_BY_WORDS: dict[str, type[StoreError]] = {
    "is locked": StoreTimeout,
    "is full": StoreFull,
    "readonly database": StoreDenied,
}
_BROKEN = ("not a database", "malformed")

# https://www.postgresql.org/docs/current/errcodes-appendix.html, by code and else by class.
_KIND_BY_SQLSTATE: dict[str, type[StoreError]] = {
    "57014": StoreTimeout,  # statement_timeout
    "55P03": StoreTimeout,  # lock_timeout
    "25P03": StoreTimeout,  # idle_in_transaction_session_timeout: this process was stopped, say
    "53100": StoreFull,
    "25006": StoreDenied,  # a read-only standby
    "42501": StoreDenied,
    "28": StoreDenied,
    "08": StoreUnreachable,
    "40": StoreUnreachable,  # a deadlock, say: works when tried again
    "53": StoreUnreachable,
    "57": StoreUnreachable,
}

_KIND_BY_ERRNO: dict[int | None, type[StoreError]] = {
    errno.ENOSPC: StoreFull,
    errno.EDQUOT: StoreFull,
    errno.EACCES: StoreDenied,
    errno.EPERM: StoreDenied,
    errno.EROFS: StoreDenied,
}


def store_error(error: SQLAlchemyError | OSError, where: str) -> StoreError:
    """The same as one sentence, without what a statement was about. where: the database, without its password."""
    if isinstance(error, OSError):
        what = os.strerror(error.errno) if error.errno else type(error).__name__
        return _KIND_BY_ERRNO.get(error.errno, StoreUnreachable)(f"{where}: {what}")
    if isinstance(error, PoolTimeout):
        return StoreTimeout(f"{where}: no connection is free")
    if not isinstance(error, DBAPIError) or error.orig is None:
        return StoreError(f"{where}: {type(error).__name__}")
    words = next(iter(str(error.orig).splitlines()), "") or type(error.orig).__name__
    if any(each in words for each in _BROKEN):
        return StoreError(f"{where}: {words}; move it away, and a new one is made")
    return _kind(error, words)(f"{where}: {words}")


def _kind(error: DBAPIError, words: str) -> type[StoreError]:
    if isinstance(error, IntegrityError):
        return Conflict
    code = getattr(error.orig, "sqlstate", None)
    if code is not None:
        return _KIND_BY_SQLSTATE.get(code) or _KIND_BY_SQLSTATE.get(code[:2], StoreError)
    for each, kind in _KIND_BY_WORDS.items():
        if each in words:
            return kind
    # A file that can't be opened, a connection that was lost or never came to be.
    return StoreUnreachable if isinstance(error, (OperationalError, InterfaceError)) else StoreError


# At DEBUG it tells every row that it reads, with prompts in it: what `hide_parameters` hides is what it writes.
_sqlalchemy_log = logging.getLogger("sqlalchemy.engine.Engine")


class Database(ABC):
    """Safe for many threads and processes at once. Nothing is opened before the first transaction.

    engine: whose pool has a connection for each thread. where: what to call it in a message.
    """

    def __init__(self, engine: Engine, where: str) -> None:
        self.engine = engine
        self.where = where
        _sqlalchemy_log.addFilter(_tells_no_row)

    def reading(self) -> contextlib.AbstractContextManager[Connection]:
        """A transaction that sees one state and changes nothing. Raises: StoreError."""
        return self._transaction(writes=False)

    def writing(self) -> contextlib.AbstractContextManager[Connection]:
        """A transaction that ends with all of its changes or, on an error, with none.

        What it has read and locked (`with_for_update`) stays as it is until its end. Raises: StoreError.
        """
        return self._transaction(writes=True)

    def revision(self) -> str:
        """Of its tables, which stay as they are. Raises: StoreError."""
        with self._faults_told(), self._bare(writes=False) as connection:
            return migration.revision(connection)

    def move(self, target: str) -> None:
        """Brings its tables to revision `target`, up or down. Raises: StoreError."""
        migration.load()
        with self._faults_told():
            self._open()
            self._move(target)

    def check_integrity(self) -> None:
        """Raises: AssertionError where the database is broken; StoreError."""
        with self.reading() as connection:
            faults = self._faults(connection)
        assert not faults, f"{self.where}: {'; '.join(faults)}"

    def close(self) -> None:
        """Ends the connections; the next transaction would make others."""
        self.engine.dispose()

    @abstractmethod
    def turn(self, connection: Connection, name: str) -> None:
        """Waits until no other writing transaction that has asked for a turn under this name is under way."""

    @contextlib.contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        with self._faults_told():
            self._make_ready()
            with self._bare(writes=writes) as connection:
                yield connection

    @contextlib.contextmanager
    def _bare(self, *, writes: bool) -> Iterator[Connection]:
        """A transaction, whatever tables there are."""
        with self.engine.connect() as connection:
            self._prepare(connection, writes=writes)
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def _faults_told(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            raise store_error(error, self.where) from error
        except migration.UnknownRevision as error:
            raise StoreError(f"{self.where}: {error}") from error

    def _bring_up_to_date(self) -> None:
        with self._bare(writes=False) as connection:
            if migration.revision(connection) == migration.NEWEST:
                return
        migration.load()
        self._move(migration.NEWEST)

    @abstractmethod
    def _make_ready(self) -> None:
        """Opens it and brings its tables up to date; cheap where they are.

        Raises: SQLAlchemyError, OSError, UnknownRevision.
        """

    @abstractmethod
    def _open(self) -> None:
        """Makes what has to be there before the first connection. Raises: OSError."""

    @abstractmethod
    def _prepare(self, connection: Connection, *, writes: bool) -> None:
        """Says of what kind the transaction is that is to begin."""

    @abstractmethod
    def _move(self, target: str) -> None:
        """Brings the tables to that revision, while no other process does. Raises: as `_make_ready`."""

    @abstractmethod
    def _faults(self, connection: Connection) -> list[str]:
        """What the database finds wrong with itself."""


def _tells_no_row(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG
