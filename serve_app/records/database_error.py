"""What a database's errors mean to those who can do without it."""

from __future__ import annotations

import errno
import os

from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from serve_app.cache.store import StoreDenied, StoreError, StoreFull, StoreTimeout, StoreUnreachable


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
