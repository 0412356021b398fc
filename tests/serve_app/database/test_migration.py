"""Databases of every revision are brought up and taken back with what is in them, on both kinds of database."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from serve_app.database import schema
from serve_app.database.auth_tables import AuditTable, KeyTable
from serve_app.database.job_table import JobTable
from serve_app.database.lease_table import Lease, LeaseTable, TakenLease
from serve_app.database.schema import BASE, NEWEST, REVISIONS
from serve_app.database.schema import metadata
from serve_app.identity import ApiKey, AuditRecord
from serve_app.job import VariationId
from serve_app.stores.store import StoreError
from tests.serve_app.database import databases
from tests.serve_app.database.databases import Home
from tests.serve_app.database.jobs.submissions import HEALTHY, all_codes, saving, start, submission

ROOT = Path(__file__).parents[3]

# As released code made them before there were revisions: what SQLAlchemy's `create_all` sent.
FORMER = """
CREATE TABLE leases (
    name VARCHAR(200) NOT NULL, holder VARCHAR(200) NOT NULL, token BIGINT NOT NULL, era VARCHAR(200) NOT NULL,
    expires_s {double} NOT NULL, value VARCHAR(200) NOT NULL, CONSTRAINT pk_leases PRIMARY KEY (name));
CREATE INDEX ix_leases_era_expires_s ON leases (era, expires_s);
CREATE TABLE swept_leases (
    id INTEGER NOT NULL, highest_token BIGINT NOT NULL, CONSTRAINT pk_swept_leases PRIMARY KEY (id));
INSERT INTO swept_leases (id, highest_token) VALUES (1, 41);
INSERT INTO leases VALUES ('codes', '', 7, 'a boot ago', 5.0, '')
"""
RECORD = AuditRecord(1.5, "r-1", "ours", "k1", "f" * 64, "POST", "/v1/music", 200, "etude", 8.0, None, "a piano", 0.5)


def fill(home: Home) -> None:
    """Something in every table."""
    database = home.open()
    assert isinstance(LeaseTable(database, lease_s=300).take("held", "one", "7"), Lease)
    table = JobTable(database)
    job, _ = table.submit(submission(seeds=(1, None)), 9)
    table.begin(VariationId(job.id, 0), 1)
    table.save([saving(VariationId(job.id, 0), 1, 0, 6, start())])
    table.succeed(VariationId(job.id, 0), 1, HEALTHY)
    KeyTable(database).add(ApiKey("k1", "ours", "mine", b"\x00" * 32, 1.0))
    AuditTable(database).write([RECORD])


def sizes(home: Home) -> dict[str, int]:
    """How many rows each table has."""
    with home.open()._bare(writes=False) as connection:
        names = inspect(connection).get_table_names()
        return {name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in names}


def test_what_migrations_make_is_what_the_code_expects(home: Home) -> None:
    with home.open().reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_revisions_known_are_those_that_there_are() -> None:
    scripts = ScriptDirectory(str(ROOT / "serve_app" / "database" / "migrations"))
    assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == REVISIONS


def test_a_database_goes_back_and_up_again_with_what_older_releases_know(home: Home) -> None:
    fill(home)
    everything = sizes(home)
    assert everything.keys() == {*metadata.tables, "alembic_version"}
    assert all(everything.values())
    database = home.open()
    (job,) = JobTable(database).page("ours", 9, None)
    database.migrate("0002")
    assert (database.revision(), sizes(home)) == ("0002", everything)
    database.migrate(NEWEST)
    unheard = replace(job.variations[0], health=None)
    assert JobTable(database).page("ours", 9, None) == [replace(job, variations=(unheard, job.variations[1]))]
    made = JobTable(database).made("ours", job.id, 0)
    assert made is not None
    np.testing.assert_array_equal(made.codes, all_codes(6))
    JobTable(database).check_integrity()
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.migrate("0001")
    assert database.revision() == "0001"
    assert sizes(home) == {"leases": 1, "swept_leases": 1, "alembic_version": 1}
    database.migrate(NEWEST)
    assert isinstance(LeaseTable(home.open(), lease_s=300).peek("held"), TakenLease)
    assert JobTable(home.open()).page("ours", 9, None) == []
    fill_again = home.open()
    JobTable(fill_again).submit(submission(), 9)
    database.migrate(BASE)
    assert (database.revision(), sizes(home)) == (BASE, {"alembic_version": 0})
    fill(home)
    assert sizes(home) == everything
    JobTable(home.open()).check_integrity()


def test_what_released_code_has_made_is_taken_over_with_its_leases(home: Home) -> None:
    database = home.open()
    assert database.revision() == BASE
    with database._bare(writes=True) as connection:
        double = "DOUBLE" if connection.dialect.name == "sqlite" else "DOUBLE PRECISION"
        for statement in FORMER.format(double=double).split(";\n"):
            connection.execute(text(statement))
    assert database.revision() == "0001"
    leases = LeaseTable(database, lease_s=300)
    for name, token in (("codes", 8), ("new", 42)):
        lease = leases.take(name, "one")
        assert isinstance(lease, Lease)
        assert lease.token == token
    assert database.revision() == NEWEST
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_newer_releases_database_is_left_as_it_is(home: Home) -> None:
    fill(home)
    with home.open().writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0099'"))
    before, database = sizes(home), home.open()
    for ask in (
        lambda: JobTable(database).page("ours", 9, None),
        database.revision,
        lambda: database.migrate("0001"),
    ):
        with pytest.raises(StoreError, match=r"revision '0099', and this release knows base, 0001, 0002, 0003") as told:
            ask()
        assert told.value.kind == "refused"
    assert sizes(home) == before


def test_a_migration_that_fails_half_way_has_done_nothing(home: Home) -> None:
    with home.open()._bare(writes=True) as connection:
        connection.execute(text("CREATE TABLE audit (mine INTEGER)"))
    with pytest.raises(StoreError, match=r"audit.*already exists"):
        JobTable(home.open()).page("ours", 9, None)
    assert sizes(home) == {"audit": 0}


def test_of_20_who_open_a_new_database_at_once_one_makes_its_tables(home: Home) -> None:
    opened = [home.open(max_connections=1) for _ in range(20)]
    with ThreadPoolExecutor(20) as threads:
        assert list(threads.map(lambda each: JobTable(each).page("ours", 1, None), opened)) == [[]] * 20
    assert sizes(home)["alembic_version"] == 1


CURRENT = """
import sys
from tests.serve_app.database.databases import Home
from serve_app.database.job_table import JobTable
home = Home(sys.argv[1])
JobTable(home.open()).page("ours", 1, None)
home.close()
assert not any(name.partition(".")[0] == "alembic" for name in sys.modules)
"""


def test_whoever_opens_a_database_that_is_up_to_date_needs_no_alembic(tmp_path: Path) -> None:
    home = databases.sqlite(tmp_path)
    JobTable(home.open()).page("ours", 1, None)
    home.close()
    command = [sys.executable, "-c", CURRENT, home.url]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_two_databases_that_are_brought_up_at_once_do_not_mix(tmp_path: Path) -> None:
    homes = [databases.sqlite(tmp_path / str(number)) for number in range(8)]
    schema.load_alembic()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda home: home.open().migrate(NEWEST), homes))
    for home in homes:
        assert sizes(home).keys() == {*metadata.tables, "alembic_version"}
        home.close()


def test_the_audit_is_newest_first_of_one_tenant_or_all_and_the_old_goes(home: Home) -> None:
    table = AuditTable(home.open())
    records = [replace(RECORD, at_s=float(at), tenant=("ours", "theirs")[at % 2]) for at in range(6)]
    table.write(records)
    table.write([])
    assert table.page(None, 9, 100.0) == records[::-1]
    assert table.page("ours", 2, 4.0) == [records[2], records[0]]
    assert table.page("nobody", 9, 100.0) == []
    assert table.sweep(4.0, limit=3) == 3
    assert table.sweep(4.0) == 1
    assert table.page(None, 9, 100.0) == [records[5], records[4]]
    with pytest.raises(StoreError):
        table.write([RECORD, replace(RECORD, tenant=None)])  # type: ignore[arg-type]
    assert len(table.page(None, 9, 100.0)) == 2, "half of a batch was written"


def test_keys_are_kept_until_they_are_revoked_and_shown_after(home: Home) -> None:
    table = KeyTable(home.open())
    first, second = ApiKey("a", "ours", "ü", bytes(range(32)), 2.0), ApiKey("b", "theirs", "", b"\xff" * 32, 1.0)
    table.add(first)
    table.add(second)
    assert table.all() == [second, first]
    with pytest.raises(StoreError):
        table.add(replace(first, tenant="theirs"))
    assert table.revoke("a", 3.0)
    assert not table.revoke("a", 4.0)
    assert not table.revoke("c", 4.0)
    assert table.all() == [second, replace(first, revoked_s=3.0)]
