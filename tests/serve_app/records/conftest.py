"""What tests of the records share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgresql import PostgresqlServer
from tests.serve_app.records import databases
from tests.serve_app.records.databases import Home


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    """An empty database of either kind."""
    if request.param == "sqlite":
        made = databases.sqlite(tmp_path)
    else:
        server: PostgresqlServer = request.getfixturevalue("postgresql")
        made = databases.postgresql(server)
    yield made
    made.close()
