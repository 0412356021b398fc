"""What tests of the records share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.database.job_table import JobTable
from serve_app.database.lease_table import LeaseTable
from tests.postgresql import PostgresqlServer
from tests.serve_app.database import databases
from tests.serve_app.database.databases import Home
from tests.serve_app.database.tables import LEASE_S, Clock


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


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(home: Home, clock: Clock) -> JobTable:
    return JobTable(home.open(), clock=clock, wall=lambda: clock.now_s)


@pytest.fixture
def leases(table: JobTable, clock: Clock) -> LeaseTable:
    return LeaseTable(table.database, lease_s=LEASE_S, clock=clock)
