"""From settings to a database and the leases in it: the one place that says which parts they are made of."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from pathlib import Path

from deployments.metrics.recorder import NOT_RECORDED, Recorder
from serve_app.cache.faults import Faults
from serve_app.records.database import Database
from serve_app.records.lease_table import LeaseTable
from serve_app.records.leases import Leases
from serve_app.records.moment import uptime_s
from serve_app.records.postgresql import PostgresqlDatabase
from serve_app.records.settings import RecordsSettings
from serve_app.records.sqlite import SqliteDatabase
from serve_app.records.threads import Threads

_log = logging.getLogger("ray.serve.records")  # below Serve's own, whose files and format it shares


def open_database(settings: RecordsSettings) -> Database:
    """The database; nothing is read or connected to yet.

    Raises: ModuleNotFoundError for PostgreSQL where psycopg is not installed.
    """
    url, timeout_s, max_connections = settings.database, settings.timeout_s, settings.max_connections
    if url.drivername == "sqlite":
        return SqliteDatabase(Path(url.database or ""), timeout_s=timeout_s, max_connections=max_connections)
    return PostgresqlDatabase(url, timeout_s=timeout_s, max_connections=max_connections)


def open_leases(
    settings: RecordsSettings, database: Database | None = None, recorder: Recorder = NOT_RECORDED
) -> Leases:
    """The leases, of a holder of its own, in this database or one opened for them; closing them closes it.

    Raises: as `open_database`.
    """
    table = LeaseTable(database or open_database(settings), lease_s=settings.lease_s)
    threads = Threads(settings.max_connections, "records")
    faults = Faults(uptime_s, _log, recorder=recorder.labelled(store="leases"))
    return Leases(table, threads, faults, holder=own_name(), timeout_s=settings.timeout_s)


def own_name() -> str:
    """Like no other process's, also after a number of a process is used again: `host/process/random`."""
    return f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
