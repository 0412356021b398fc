"""A database: its transactions, its tables, which are brought up to date when first needed, and its faults."""

from __future__ import annotations

import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from serve_app.cache.store import StoreError
from serve_app.records import migration
from serve_app.records.database_error import store_error

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
