"""Both databases for a test, as often opened as there are processes that would open it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

from serve_app.database.database import Database
from serve_app.database.engines import open_database
from serve_app.settings.storage import DatabaseSettings
from tests.postgresql import PostgresqlServer


class Home:
    """One database, empty at first. url: of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._opened: list[Database] = []

    def open(self, *, max_connections: int = 2, timeout_s: float = 60.0) -> Database:
        """Once more."""
        settings = {"url": self.url, "max_connections": max_connections, "timeout_s": timeout_s, "lease_s": 300.0}
        self._opened.append(open_database(DatabaseSettings.model_validate(settings)))
        return self._opened[-1]

    def close(self) -> None:
        for each in self._opened:
            each.close()


def sqlite(folder: Path) -> Home:
    return Home(f"sqlite:///{folder}/records.sqlite")


def postgresql(server: PostgresqlServer) -> Home:
    return Home(server.url(f"records_{uuid.uuid4().hex}"))


MakeHome = Callable[[], Home]
