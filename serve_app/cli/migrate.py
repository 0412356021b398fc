"""`musicgen migrate current | up [REVISION] | down REVISION`: the database's tables, brought to a revision.

The service brings them up by itself when it starts; this does it beforehand, or takes them back for an older release,
which drops what that release does not know. Stop the service for the latter: it would not go on without its tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serve_app.cli.options import ConfigFile, DatabaseUrl, Json, StateDir, database_settings, use_state_folder
from serve_app.cli.terminal import CommandError, print_json

if TYPE_CHECKING:
    from serve_app.database.database import Database

HELP = "Bring the tables of the database to a revision. The service does so itself when it starts."

# Tables with much in them take their time. The longest that settings may say, and a lease that outlasts it.
_TIMEOUT_S, _LEASE_S = 60.0, 300.0


@contextmanager
def _database(config: Path | None, records: str | None, state_dir: Path | None) -> Iterator[Database]:
    """Raises: CommandError where the database can't be found or used."""
    from serve_app.database.engines import open_database
    from serve_app.stores.store import StoreError

    use_state_folder(state_dir)
    settings = database_settings(config, records)
    database = open_database(settings.model_copy(update={"timeout_s": _TIMEOUT_S, "lease_s": _LEASE_S}))
    try:
        yield database
    except StoreError as error:
        raise CommandError(str(error)) from error
    finally:
        database.close()


def _checked_revision(revision: str) -> str:
    from serve_app.database.schema import BASE, REVISIONS

    if revision not in (BASE, *REVISIONS):
        raise typer.BadParameter(f"invalid choice: {revision!r} (choose from {', '.join((BASE, *REVISIONS))})")
    return revision


Revision = Annotated[
    str,
    typer.Argument(
        metavar="REVISION", callback=_checked_revision, help="`base`, or a number like 0001.", show_default=False
    ),
]


def _newest() -> str:
    from serve_app.database.schema import NEWEST

    return NEWEST


def current(
    config: ConfigFile = None, records: DatabaseUrl = None, state_dir: StateDir = None, json: Json = False
) -> None:
    """Say at which revision the tables are.

    Example: musicgen migrate current
    """
    from serve_app.database.schema import NEWEST

    with _database(config, records, state_dir) as database:
        revision = database.revision()
    if json:
        print_json({"revision": revision, "newest": NEWEST})
    else:
        print(revision)


def up(
    revision: Annotated[
        str,
        typer.Argument(
            metavar="[REVISION]",
            default_factory=_newest,
            callback=_checked_revision,
            help="`base`, or a number like 0001; the newest without it.",
            show_default=False,
        ),
    ],
    config: ConfigFile = None,
    records: DatabaseUrl = None,
    state_dir: StateDir = None,
    json: Json = False,
) -> None:
    """Bring the tables up, with what is in them.

    Example: musicgen migrate up
    """
    with _database(config, records, state_dir) as database:
        at = database.revision()
        if _order(revision) < _order(at):
            raise CommandError(f"REVISION: it is at {at}, above {revision}; `down {revision}` takes it back")
        _move(database, at, revision, json)


def down(
    revision: Revision,
    config: ConfigFile = None,
    records: DatabaseUrl = None,
    state_dir: StateDir = None,
    json: Json = False,
) -> None:
    """Take the tables back to an older revision. What an older release does not know is deleted.

    Example: musicgen migrate down 0001
    """
    with _database(config, records, state_dir) as database:
        at = database.revision()
        if _order(revision) > _order(at):
            raise CommandError(f"REVISION: it is at {at}, below {revision}; `up {revision}` brings it there")
        _move(database, at, revision, json)


COMMANDS: dict[str, Callable[..., Any]] = {"current": current, "up": up, "down": down}


def _order(revision: str) -> int:
    from serve_app.database.schema import BASE, REVISIONS

    return (BASE, *REVISIONS).index(revision)


def _move(database: Database, at: str, target: str, as_json: bool) -> None:
    database.migrate(target)
    if as_json:
        print_json({"database": database.where, "from": at, "to": target})
    else:
        print(f"{database.where}: from {at} to {target}" if at != target else f"{database.where}: at {at} already")
