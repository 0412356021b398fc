"""Mistakes in the settings of the records are named with what would be right, and passwords are not repeated."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deployments.paths import ROOT
from serve_app.database.engines import open_leases, process_name
from serve_app.database.lease_table import HeldLease, TakenLease
from serve_app.settings import sentence
from serve_app.settings.storage import DatabaseSettings

POSTGRESQL = "postgresql+psycopg://me:canary@db.example:5433/music?sslmode=require"


def settings(**values: Any) -> DatabaseSettings:
    return DatabaseSettings.model_validate(values)


def complaint(**values: Any) -> str:
    with pytest.raises(ValidationError) as failure:
        settings(**values)
    return sentence(failure.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"lease": 5}, "unknown key 'lease', did you mean 'lease_s'?"),
        ({"lease_s": 0.5}, "lease_s: Input should be greater than or equal to 1"),
        ({"lease_s": 301}, "lease_s: Input should be less than or equal to 300"),
        ({"timeout_s": 0}, "timeout_s: Input should be greater than 0"),
        ({"timeout_s": 6}, "timeout_s is 6 and lease_s 15: a lease must outlast 3 time-outs; set lease_s: 18 or more"),
        ({"max_connections": 0}, "max_connections: Input should be greater than or equal to 1"),
        ({"url": 5}, "url: Input should be a valid string"),
        ({"url": ""}, "url: that is not a database's URL like sqlite:///./build/records.sqlite or postgresql+psycopg:"),
        ({"url": "./build/records.sqlite"}, "that is not a database's URL"),
        ({"url": "sqlite://"}, "they need a file: sqlite:///./build/records.sqlite"),
        ({"url": "sqlite:///:memory:"}, "they need a file: sqlite:///./build/records.sqlite"),
        ({"url": "sqlite:///my.db"}, "'my.db' is not written as a file: sqlite:///./my.db or sqlite:////my.db"),
        ({"url": "sqlite:///./build/"}, "'./build/' is a folder; a file in it is written sqlite:///./build/records.sq"),
        ({"url": "sqlite:///./my.db?mode=ro"}, "a SQLite URL is a path and nothing else"),
        ({"url": "sqlite://host/./my.db"}, "a SQLite URL is a path and nothing else"),
        ({"url": "sqlite+aiosqlite:///./my.db"}, "sqlite+aiosqlite is not supported; a URL is written sqlite:///./bu"),
        ({"url": "postgresql://me@host/music"}, "postgresql is not supported; a URL is written sqlite:///./build/rec"),
        ({"url": "mysql://me@host/music"}, "or postgresql+psycopg://user@host/database"),
        ({"url": "postgresql+psycopg://me@host"}, "a PostgreSQL URL names its database"),
        ({"url": "postgresql+psycopg://me@host/music?password=x"}, "a password is written before the host"),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(values: dict[str, Any], said: str) -> None:
    assert said in complaint(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"url": "mysql://me:canary@host/music"},
        {"url": "canary"},
        {"url": "me:canary@host"},
        {"url": "sqlite://me:canary@/./my.db"},
        {"url": "postgresql+psycopg://me:canary@host"},
        {"url": "postgresql+psycopg://me:canary@host:port/music"},
        {"url": "postgresql+psycopg://me@host/music?password=canary"},
        {"url": POSTGRESQL, "lease_s": 0},
        {"url": POSTGRESQL, "lease": 5},
        {"url": POSTGRESQL, "timeout_s": 10},
        {"url": ["canary"]},
    ],
)
def test_a_password_is_not_repeated_in_what_is_said_of_a_mistake(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as failure:
        settings(**values)
    assert "canary" not in "".join(traceback.format_exception(failure.value))
    assert "canary" not in sentence(failure.value)


def test_a_password_reaches_the_database_and_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    records = settings(url=POSTGRESQL)
    assert records.resolved_url.password == "canary"
    assert records.resolved_url.query == {"sslmode": "require"}
    shown = f"{records!r} {records} {records.model_dump()} {records.model_dump_json()} {records.resolved_url!r}"
    assert "canary" not in f"{shown} {records.resolved_url} {caplog.text}"
    assert pickle.loads(pickle.dumps(records)) == records


def test_a_file_begins_at_the_projects_root_or_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings().resolved_url.database == str(ROOT / "build" / "records.sqlite")
    assert settings(url="sqlite:///../my.db").resolved_url.database == str(ROOT.parent / "my.db")
    assert settings(url="sqlite:////var/lib/my.db").resolved_url.database == "/var/lib/my.db"
    monkeypatch.setenv("HOME", "/home/me")
    assert settings(url="sqlite:///~/my.db").resolved_url.database == "/home/me/my.db"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings().lease_s = 3


def test_two_openings_of_one_file_are_two_holders(tmp_path: Path) -> None:
    async def test() -> None:
        leases = [open_leases(settings(url=f"sqlite:///{tmp_path}/my.db", lease_s=20)) for _ in range(2)]
        assert os.listdir(tmp_path) == []
        first, second = [await each.take("a", value="7") for each in leases]
        assert isinstance(first, HeldLease)
        assert isinstance(second, TakenLease)
        assert (second.holder, second.value) == (leases[0].holder, "7")
        assert leases[0].lease_s == 20
        async with leases[0].renewing(first) as kept:
            assert kept.is_surely_held()
        assert isinstance(await leases[1].take("a"), HeldLease)
        for each in leases:
            await each.close()

    asyncio.run(test())


def test_no_two_holders_have_one_name() -> None:
    assert len({process_name() for _ in range(100)}) == 100
    assert all(name.isprintable() and len(name) < 150 for name in (process_name(), process_name()))
