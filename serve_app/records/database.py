"""A database: its transactions, its tables made when first needed, and its faults told as the store errors they are."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from serve_app.records.database_error import store_error


class Database(ABC):
    """Safe for many threads and processes at once. Nothing is opened before the first transaction.

    engine: whose pool has a connection for each thread. where: what to call it in a message.
    """

    def __init__(self, engine: Engine, where: str) -> None:
        self.engine = engine
        self.where = where

    def reading(self) -> contextlib.AbstractContextManager[Connection]:
        """A transaction that sees one state and changes nothing. Raises: StoreError."""
        return self._transaction(writes=False)

    def writing(self) -> contextlib.AbstractContextManager[Connection]:
        """A transaction that ends with all of its changes or, on an error, with none.

        What it has read and locked (`with_for_update`) stays as it is until its end. Raises: StoreError.
        """
        return self._transaction(writes=True)

    def check_integrity(self) -> None:
        """Raises: AssertionError where the database is broken; StoreError."""
        with self.reading() as connection:
            faults = self._faults(connection)
        assert not faults, f"{self.where}: {'; '.join(faults)}"

    def close(self) -> None:
        """Ends the connections; the next transaction would make others."""
        self.engine.dispose()

    @contextlib.contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        try:
            self._make_ready()
            with self.engine.connect() as connection:
                connection.execution_options(writes=writes)
                with connection.begin():
                    yield connection
        except (SQLAlchemyError, OSError) as error:
            raise store_error(error, self.where) from error

    @abstractmethod
    def _make_ready(self) -> None:
        """Makes what is not there yet; cheap where all is. Raises: SQLAlchemyError, OSError."""

    @abstractmethod
    def _faults(self, connection: Connection) -> list[str]:
        """What the database finds wrong with itself."""
