"""`python -m serve_app.cli.keys make | list | revoke`: the API keys of the service.

A key is shown once, when it is made, and alone on standard output; what is kept of it can't be turned back into it.
A service that runs takes a new key at once, and a revoked one for five seconds at most.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone

from serve_app.auth import keys as key_text
from serve_app.cli import options as records_option
from serve_app.cli.options import OptionError
from serve_app.database.auth_tables import KeyTable
from serve_app.database.engines import open_database
from serve_app.database.schema import MAX_TEXT
from serve_app.identity import ApiKey
from serve_app.stores.store import StoreError

_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_ID = re.compile(r"[0-9a-f]{16}")


def main(arguments: list[str], *, clock: Callable[[], float] = time.time) -> int:
    """Does as told; returns the exit status. clock: seconds since 1970."""
    options = _parser().parse_args(arguments)
    try:
        database = open_database(records_option.chosen(options))
        try:
            options.action(KeyTable(database), options, clock)
        finally:
            database.close()
    except (OptionError, StoreError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _make(table: KeyTable, options: argparse.Namespace, clock: Callable[[], float]) -> None:
    _check_tenant(options.tenant)
    if len(options.label) > MAX_TEXT or not options.label.isprintable():
        raise OptionError(f"--label: it is {MAX_TEXT} printable characters at most")
    key = key_text.draw()
    table.add(ApiKey(key.id, options.tenant, options.label, key.digest, created_s=clock()))
    print(f"The key {key.id} of {options.tenant}; it is not shown again:", file=sys.stderr)
    print(key.text)


def _list(table: KeyTable, options: argparse.Namespace, _: Callable[[], float]) -> None:
    if options.tenant is not None:
        _check_tenant(options.tenant)
    for key in sorted(table.all(), key=lambda key: (key.tenant, key.created_s)):
        if options.tenant in (None, key.tenant):
            state = "live" if key.revoked_s is None else f"revoked {_date(key.revoked_s)}"
            print(f"{key.id}  {key.tenant}  made {_date(key.created_s)}  {state}  {key.label}".rstrip())


def _revoke(table: KeyTable, options: argparse.Namespace, clock: Callable[[], float]) -> None:
    if not _ID.fullmatch(options.id):
        raise OptionError("ID: it is 16 hexadecimal digits, what stands between the two `_` of the key")
    if not table.revoke(options.id, clock()):
        raise OptionError(
            "ID: there is no live key that has it; `python -m serve_app.cli.keys list` shows those there are"
        )
    print(f"The key {options.id} is revoked.", file=sys.stderr)


def _check_tenant(tenant: str) -> None:
    if not _TENANT.fullmatch(tenant):
        raise OptionError("--tenant: a name is 1 to 64 of a-z, 0-9, '.', '_' and '-', the first a letter or digit")


def _date(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serve_app.cli.keys", description="Makes, lists and revokes API keys."
    )
    records_option.add_to(parser)
    actions = parser.add_subparsers(required=True, metavar="make | list | revoke")
    make = actions.add_parser("make", help="make a key, and print it")
    make.add_argument("--tenant", required=True, metavar="NAME", help="whose the key is: [a-z0-9][a-z0-9._-]{0,63}")
    make.add_argument("--label", default="", metavar="TEXT", help="what to tell the key by in lists")
    make.set_defaults(action=_make)
    listing = actions.add_parser("list", help="list the keys that were ever made, without their secrets")
    listing.add_argument("--tenant", metavar="NAME", help="only those of one")
    listing.set_defaults(action=_list)
    revoke = actions.add_parser("revoke", help="make a key worth nothing, for good")
    revoke.add_argument("id", metavar="ID", help="of the key: 16 hexadecimal digits")
    revoke.set_defaults(action=_revoke)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
