"""Each fault of a database is told as the kind of store error it is."""

from __future__ import annotations

import errno
import sqlite3

import pytest
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from serve_app.database.database import store_error


class ServerError(Exception):
    """As psycopg has it. sqlstate: None where the server was not reached."""

    def __init__(self, words: str, sqlstate: str | None) -> None:
        super().__init__(words)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        ("57014", "timeout"),
        ("55P03", "timeout"),
        ("25P03", "timeout"),
        ("53100", "full"),
        ("53300", "unreachable"),
        ("25006", "denied"),
        ("28P01", "denied"),
        ("42501", "denied"),
        ("42P01", "refused"),
        ("57P01", "unreachable"),
        ("40P01", "unreachable"),
        ("08006", "unreachable"),
        (None, "unreachable"),
    ],
)
def test_a_servers_code_says_what_is_wrong(sqlstate: str | None, kind: str) -> None:
    error = OperationalError("SELECT canary", {"a": "canary"}, ServerError("words\nDETAIL: canary", sqlstate))
    told = store_error(error, "PostgreSQL at db")
    assert told.kind == kind
    assert str(told) == "PostgreSQL at db: words"


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (OperationalError("", {}, sqlite3.OperationalError("database table is locked")), "timeout", "is locked"),
        (OperationalError("", {}, sqlite3.OperationalError("unable to open database file")), "unreachable", "to open"),
        (OperationalError("", {}, sqlite3.OperationalError("disk I/O error")), "unreachable", "disk I/O error"),
        (DBAPIError("", {}, sqlite3.DatabaseError("database disk image is malformed")), "refused", "move it away"),
        (ProgrammingError("", {}, sqlite3.ProgrammingError("")), "refused", "file: ProgrammingError"),
        (PoolTimeout("QueuePool limit"), "timeout", "no connection is free"),
        (SQLAlchemyError("what"), "refused", "file: SQLAlchemyError"),
        (OSError(errno.ENOSPC, "x"), "full", "No space left on device"),
        (OSError(errno.EROFS, "x"), "denied", "Read-only file system"),
        (OSError("what"), "unreachable", "file: OSError"),
    ],
)
def test_other_faults_are_told_in_their_own_words(error: SQLAlchemyError | OSError, kind: str, said: str) -> None:
    told = store_error(error, "file")
    assert told.kind == kind
    assert said in str(told)
