"""What an operator may set of the records."""

from __future__ import annotations

from pathlib import Path

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from deployments.checkpoints.root import ROOT
from serve_app.placement import FOLDER
from serve_app.records.lease import MAX_LEASE_S
from serve_app.strict import StrictModel

_EXAMPLES = "sqlite:///./build/records.sqlite or postgresql+psycopg://user@host/database"
# Tries to renew a lease that may all run into their time-outs before it ends.
_TRIES_PER_LEASE = 3


class RecordsSettings(StrictModel):
    """Where records are kept, and for how long a lease holds.

    url: of the database. SQLite is for one machine; its file is written `sqlite:///` and then `/…`, `~…`, `./…` or
    `../…` (from the project's root). PostgreSQL is for several; its password may stay out of the URL, in PGPASSWORD or
    a pgpass file, where libpq finds it.
    lease_s: after which what a dead process was making may be made by another. timeout_s: of each call, after which a
    request goes on without a lease. max_connections: to the database, of each process; each has a thread.
    """

    # Else pydantic repeats in its errors what it was given, passwords too.
    model_config = ConfigDict(hide_input_in_errors=True)

    url: SecretStr = SecretStr("sqlite:///./build/records.sqlite")
    lease_s: float = Field(default=15.0, ge=1, le=MAX_LEASE_S)
    timeout_s: float = Field(default=2.0, gt=0, le=60)
    max_connections: int = Field(default=4, ge=1, le=64)

    @property
    def database(self) -> URL:
        """The URL, with its password, which is not shown; SQLite's file by its whole path."""
        url = make_url(self.url.get_secret_value())
        if url.drivername != "sqlite":
            return url
        return url.set(database=str((ROOT / Path(url.database or "").expanduser()).resolve()))

    @field_validator("url")
    @classmethod
    def _is_one_of_two_databases(cls, secret: SecretStr) -> SecretStr:
        try:
            url = make_url(secret.get_secret_value())
        except (ArgumentError, ValueError):
            raise ValueError(f"that is not a database's URL like {_EXAMPLES}") from None
        if url.drivername == "sqlite":
            _check_sqlite(url)
        elif url.drivername == "postgresql+psycopg":
            _check_postgresql(url)
        else:
            raise ValueError(f"{url.drivername} is not supported; a URL is written {_EXAMPLES}")
        return secret

    @model_validator(mode="after")
    def _a_lease_outlasts_some_time_outs(self) -> RecordsSettings:
        if _TRIES_PER_LEASE * self.timeout_s > self.lease_s:
            raise ValueError(
                f"timeout_s is {self.timeout_s:g} and lease_s {self.lease_s:g}: a lease must outlast "
                f"{_TRIES_PER_LEASE} time-outs; set lease_s: {_TRIES_PER_LEASE * self.timeout_s:g} or more"
            )
        return self


def _check_sqlite(url: URL) -> None:
    path = url.database or ""
    if url.host or url.username or url.password or url.query:
        raise ValueError("a SQLite URL is a path and nothing else: sqlite:///./build/records.sqlite")
    if path in ("", ":memory:"):
        raise ValueError("records are shared by processes, so they need a file: sqlite:///./build/records.sqlite")
    if not FOLDER.match(path):
        raise ValueError(f"{path!r} is not written as a file: sqlite:///./{path} or sqlite:////{path}")
    if path.endswith("/"):
        raise ValueError(f"{path!r} is a folder; a file in it is written sqlite:///{path}records.sqlite")


def _check_postgresql(url: URL) -> None:
    if not url.database:
        raise ValueError("a PostgreSQL URL names its database: postgresql+psycopg://user@host/database")
    if any("password" in key for key in url.query):
        raise ValueError("a password is written before the host, as in postgresql+psycopg://user:…@host/database")
