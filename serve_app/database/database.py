"""A database: its transactions, its tables, which are migrated when first needed, and its faults as StoreErrors."""

from __future__ import annotations

import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from serve_app.database import schema
from serve_app.stores.store import StoreDenied, StoreError, StoreFull, StoreTimeout, StoreUnreachable, error_of_file


class RowExists(StoreError):
    """Another transaction inserted the same row; it exists now."""


# SQLite's messages (sqlite3_errstr); Python has its error codes since 3.11 only.
_KIND_BY_MESSAGE: dict[str, type[StoreError]] = {
    "is locked": StoreTimeout,
    "is full": StoreFull,
    "readonly database": StoreDenied,
}
_BROKEN = ("not a database", "malformed")

# https://www.postgresql.org/docs/current/errcodes-appendix.html, by code or else by class.
_KIND_BY_SQLSTATE: dict[str, type[StoreError]] = {
    "57014": StoreTimeout,  # statement_timeout
    "55P03": StoreTimeout,  # lock_timeout
    "25P03": StoreTimeout,  # idle_in_transaction_session_timeout: this process was suspended, perhaps
    "53100": StoreFull,
    "25006": StoreDenied,  # a read-only standby
    "42501": StoreDenied,
    "28": StoreDenied,
    "08": StoreUnreachable,
    "40": StoreUnreachable,  # a deadlock, for example: works when it is retried
    "53": StoreUnreachable,
    "57": StoreUnreachable,
}


def store_error(error: SQLAlchemyError | OSError, where: str) -> StoreError:
    """The StoreError for an error, in one sentence without any data. where: the database, without its password."""
    if isinstance(error, OSError):
        return error_of_file(error, where)
    if isinstance(error, PoolTimeout):
        return StoreTimeout(f"{where}: no connection is free")
    if not isinstance(error, DBAPIError) or error.orig is None:
        return StoreError(f"{where}: {type(error).__name__}")
    message = next(iter(str(error.orig).splitlines()), "") or type(error.orig).__name__
    if any(each in message for each in _BROKEN):
        return StoreError(f"{where}: {message}; move it away, and a new one is made")
    return _kind(error, message)(f"{where}: {message}")


def _kind(error: DBAPIError, message: str) -> type[StoreError]:
    if isinstance(error, IntegrityError):
        return RowExists
    code = getattr(error.orig, "sqlstate", None)
    if code is not None:
        return _KIND_BY_SQLSTATE.get(code) or _KIND_BY_SQLSTATE.get(code[:2], StoreError)
    for each, kind in _KIND_BY_MESSAGE.items():
        if each in message:
            return kind
    # A file that cannot be opened, a connection that was lost or refused.
    return StoreUnreachable if isinstance(error, (OperationalError, InterfaceError)) else StoreError


# At DEBUG it logs every row that it reads, prompts included: `hide_parameters` hides only what is written.
_sqlalchemy_log = logging.getLogger("sqlalchemy.engine.Engine")


class Database(ABC):
    """Safe for many threads and processes at once. Nothing is opened before the first transaction.

    Args:
        engine: its pool has a connection for each thread.
        where: the name of the database in messages.
    """

    def __init__(self, engine: Engine, where: str) -> None:
        self.engine = engine
        self.where = where
        _sqlalchemy_log.addFilter(_is_above_debug)

    def reading(self) -> contextlib.AbstractContextManager[Connection]:
        """A read-only transaction that sees one state. Raises: StoreError."""
        return self._transaction(writes=False)

    def writing(self) -> contextlib.AbstractContextManager[Connection]:
        """A transaction that commits all of its changes or, on an error, none.

        Rows it has locked (`with_for_update`) do not change until its end. Raises: StoreError.
        """
        return self._transaction(writes=True)

    def revision(self) -> str:
        """The revision of its tables, which are not migrated. Raises: StoreError."""
        with self._faults_as_store_errors(), self._bare(writes=False) as connection:
            return schema.current_revision(connection)

    def migrate(self, target: str) -> None:
        """Migrates its tables to revision `target`, up or down. Raises: StoreError."""
        schema.load_alembic()
        with self._faults_as_store_errors():
            self._open()
            self._migrate(target)

    def check_integrity(self) -> None:
        """Raises: AssertionError for a broken database; StoreError."""
        with self.reading() as connection:
            faults = self._faults(connection)
        assert not faults, f"{self.where}: {'; '.join(faults)}"

    def close(self) -> None:
        """Closes the connections; the next transaction would open others."""
        self.engine.dispose()

    @abstractmethod
    def lock(self, connection: Connection, name: str) -> None:
        """Locks `name` until the writing transaction ends; waits until no other transaction has it locked."""

    @contextlib.contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        with self._faults_as_store_errors():
            self._make_ready()
            with self._bare(writes=writes) as connection:
                yield connection

    @contextlib.contextmanager
    def _bare(self, *, writes: bool) -> Iterator[Connection]:
        """A transaction, at whatever revision the tables are."""
        with self.engine.connect() as connection:
            self._prepare(connection, writes=writes)
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def _faults_as_store_errors(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            raise store_error(error, self.where) from error
        except schema.UnknownRevision as error:
            raise StoreError(f"{self.where}: {error}") from error

    def _bring_up_to_date(self) -> None:
        with self._bare(writes=False) as connection:
            if schema.current_revision(connection) == schema.NEWEST:
                return
        schema.load_alembic()
        self._migrate(schema.NEWEST)

    @abstractmethod
    def _make_ready(self) -> None:
        """Opens it and migrates its tables; cheap where they are up to date.

        Raises: SQLAlchemyError, OSError, UnknownRevision.
        """

    @abstractmethod
    def _open(self) -> None:
        """Creates what the first connection needs. Raises: OSError."""

    @abstractmethod
    def _prepare(self, connection: Connection, *, writes: bool) -> None:
        """Sets the kind of the transaction that is about to begin."""

    @abstractmethod
    def _migrate(self, target: str) -> None:
        """Migrates the tables to that revision, one process at a time. Raises: as `_make_ready`."""

    @abstractmethod
    def _faults(self, connection: Connection) -> list[str]:
        """What the database finds wrong with its own files."""


def _is_above_debug(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG
