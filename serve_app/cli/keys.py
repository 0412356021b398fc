"""`musicgen keys make | list | revoke`: the API keys of the service.

A key is shown once, when it is made, and alone on standard output; what is kept of it can't be turned back into it.
A service that runs takes a new key at once, and a revoked one for five seconds at most.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serve_app.cli.options import ConfigFile, DatabaseUrl, Json, StateDir, database_settings, use_state_folder
from serve_app.cli.terminal import CommandError, print_json, print_table, say

if TYPE_CHECKING:
    from serve_app.database.auth_tables import KeyTable

HELP = "Make, list and revoke the API keys of a service."

_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_ID = re.compile(r"[0-9a-f]{16}")


def now_s() -> float:
    """Seconds since 1970."""
    return time.time()


@contextmanager
def _key_table(config: Path | None, records: str | None, state_dir: Path | None) -> Iterator[KeyTable]:
    """Raises: CommandError where the database can't be found or used."""
    from serve_app.database.auth_tables import KeyTable
    from serve_app.database.engines import open_database
    from serve_app.stores.store import StoreError

    use_state_folder(state_dir)
    database = open_database(database_settings(config, records))
    try:
        yield KeyTable(database)
    except StoreError as error:
        raise CommandError(str(error)) from error
    finally:
        database.close()


def make(
    tenant: Annotated[
        str, typer.Option(metavar="NAME", help="Whose the key is: 1 to 64 of a-z, 0-9, '.', '_' and '-'.")
    ],
    label: Annotated[str, typer.Option(metavar="TEXT", help="What to tell the key by in lists.")] = "",
    config: ConfigFile = None,
    records: DatabaseUrl = None,
    state_dir: StateDir = None,
    json: Json = False,
) -> None:
    """Make a key, and print it: the only time that it is shown.

    Example: musicgen keys make --tenant studio --label "the mixing desk"
    """
    from serve_app.auth.keys import generate_key
    from serve_app.database.schema import MAX_TEXT
    from serve_app.identity import ApiKey

    with _key_table(config, records, state_dir) as table:
        _check_tenant(tenant)
        if len(label) > MAX_TEXT or not label.isprintable():
            raise CommandError(f"--label: it is {MAX_TEXT} printable characters at most")
        key = generate_key()
        table.add(ApiKey(key.id, tenant, label, key.digest, created_s=now_s()))
    if json:
        print_json({"id": key.id, "tenant": tenant, "label": label, "key": key.text})
        return
    say(f"The key {key.id} of {tenant}; it is not shown again:")
    print(key.text)


def list_keys(
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Only the keys of one tenant.")] = None,
    config: ConfigFile = None,
    records: DatabaseUrl = None,
    state_dir: StateDir = None,
    json: Json = False,
) -> None:
    """List all keys that were ever made, without their secrets.

    Example: musicgen keys list --tenant studio
    """
    with _key_table(config, records, state_dir) as table:
        if tenant is not None:
            _check_tenant(tenant)
        keys = sorted(table.all(), key=lambda key: (key.tenant, key.created_s))
    keys = [key for key in keys if tenant in (None, key.tenant)]
    if json:
        documents = [
            {
                "id": key.id,
                "tenant": key.tenant,
                "label": key.label,
                "made_at": _date(key.created_s),
                "revoked_at": None if key.revoked_s is None else _date(key.revoked_s),
            }
            for key in keys
        ]
        print_json({"keys": documents})
        return
    rows = []
    for key in keys:
        state = "live" if key.revoked_s is None else f"revoked {_date(key.revoked_s)}"
        rows.append((key.id, key.tenant, f"made {_date(key.created_s)}", state, key.label))
    print_table(("key", "tenant", "made", "state", "label"), rows)


def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id: 16 hexadecimal digits.")],
    config: ConfigFile = None,
    records: DatabaseUrl = None,
    state_dir: StateDir = None,
    json: Json = False,
) -> None:
    """Make a key worthless, for good. A running service refuses it within five seconds.

    Example: musicgen keys revoke 0123456789abcdef
    """
    with _key_table(config, records, state_dir) as table:
        if not _ID.fullmatch(key_id):
            raise CommandError("ID: it is 16 hexadecimal digits, what stands between the two `_` of the key")
        if not table.revoke(key_id, now_s()):
            raise CommandError("ID: there is no live key that has it; `musicgen keys list` shows those there are")
    if json:
        print_json({"id": key_id, "revoked": True})
        return
    say(f"The key {key_id} is revoked.")


COMMANDS: dict[str, Callable[..., Any]] = {"make": make, "list": list_keys, "revoke": revoke}


def _check_tenant(tenant: str) -> None:
    if not _TENANT.fullmatch(tenant):
        raise CommandError("--tenant: a name is 1 to 64 of a-z, 0-9, '.', '_' and '-', the first a letter or digit")


def _date(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
