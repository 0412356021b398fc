"""Brings a database to a revision of its tables, with what is in them.

The caller's transaction sees to it that nobody else does so at the same time, and that all of it is done or nothing.
Alembic is imported only where there is something to do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, text

# In their order, as in `migrations/versions`.
REVISIONS = ("0001", "0002", "0003")
NEWEST = REVISIONS[-1]
# Before there are any tables.
BASE = "base"

_FOLDER = Path(__file__).parent / "migrations"
# Alembic keeps what it works on in its modules.
_one_at_a_time = threading.Lock()


class UnknownRevision(Exception):
    """The database's tables are those of another release. The message says which are known here."""


def revision(connection: Connection) -> str:
    """At which revision the database is. Raises: UnknownRevision, sqlalchemy.exc.SQLAlchemyError."""
    tables = inspect(connection)
    if tables.has_table("alembic_version"):
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
        if not found:
            return BASE
        if len(found) > 1 or found[0] not in REVISIONS:
            raise UnknownRevision(
                f"its tables are at revision {', '.join(map(repr, found))}, and this release knows {BASE}, "
                f"{', '.join(REVISIONS)}: run the release that it is from, or go back with that one's "
                f"`python -m serve_app.cli.migrate down {NEWEST}`"
            )
        return str(found[0])
    # Leases were there before revisions were written down.
    return REVISIONS[0] if tables.has_table("leases") else BASE


def load() -> None:
    """Imports what `move` needs. That takes a third of a second: time for it before anybody has to wait for a lock."""
    import alembic.command
    import alembic.config  # noqa: F401


def move(connection: Connection, target: str) -> None:
    """Up or down to `target`, BASE or one of REVISIONS. Raises: as `revision`."""
    at = revision(connection)
    if at == target:
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    order = (BASE, *REVISIONS)
    step: Callable[[Any, str], None] = command.upgrade if order.index(target) > order.index(at) else command.downgrade
    with _one_at_a_time:
        if at == REVISIONS[0]:
            command.stamp(config, at)  # leases of before there were revisions
        step(config, target)
