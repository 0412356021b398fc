"""`python -m serve_app.cli.migrate current | up [REVISION] | down REVISION`: the records' tables, brought to a revision.

The service brings them up by itself when it starts; this does it beforehand, or takes them back for an older release,
which drops what that release does not know. Stop the service for the latter: it would not go on without its tables.
"""

from __future__ import annotations

import argparse
import sys

from serve_app.cli import options as records_option
from serve_app.cli.options import OptionError
from serve_app.database.database import Database
from serve_app.database.engines import open_database
from serve_app.database.migration import BASE, NEWEST, REVISIONS
from serve_app.stores.store import StoreError

_ORDER = (BASE, *REVISIONS)
# Tables with much in them take their time. The longest that settings may say, and a lease that outlasts it.
_TIMEOUT_S, _LEASE_S = 60.0, 300.0


def main(arguments: list[str]) -> int:
    """Does as told; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        settings = records_option.chosen(options)
        patient = settings.model_copy(update={"timeout_s": _TIMEOUT_S, "lease_s": _LEASE_S})
        database = open_database(patient)
        try:
            options.action(database, options)
        finally:
            database.close()
    except (OptionError, StoreError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _current(database: Database, _: argparse.Namespace) -> None:
    print(database.revision())


def _up(database: Database, options: argparse.Namespace) -> None:
    at = database.revision()
    if _ORDER.index(options.revision) < _ORDER.index(at):
        raise OptionError(f"REVISION: it is at {at}, above {options.revision}; `down {options.revision}` takes it back")
    _move(database, at, options.revision)


def _down(database: Database, options: argparse.Namespace) -> None:
    at = database.revision()
    if _ORDER.index(options.revision) > _ORDER.index(at):
        raise OptionError(f"REVISION: it is at {at}, below {options.revision}; `up {options.revision}` brings it there")
    _move(database, at, options.revision)


def _move(database: Database, at: str, target: str) -> None:
    database.move(target)
    print(f"{database.where}: from {at} to {target}" if at != target else f"{database.where}: at {at} already")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serve_app.cli.migrate", description="Brings the tables of the records to a revision."
    )
    records_option.add_to(parser)
    actions = parser.add_subparsers(required=True, metavar="current | up | down")
    current = actions.add_parser("current", help="say at which revision they are")
    current.set_defaults(action=_current)
    up = actions.add_parser("up", help="bring them up, with what is in them")
    up.add_argument(
        "revision", nargs="?", choices=_ORDER, default=NEWEST, help="one of %(choices)s; default: %(default)s"
    )
    up.set_defaults(action=_up)
    down = actions.add_parser("down", help="take them back; what an older release does not know is lost")
    down.add_argument("revision", choices=_ORDER, help="one of %(choices)s")
    down.set_defaults(action=_down)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
