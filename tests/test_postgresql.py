"""The PostgreSQL that tests get is one that can be taken away and comes back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from tests.postgresql import PostgresqlServer, postgresql_server


def run(url: str, statement: str) -> int | None:
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        result = connection.execute(text(statement))
        return result.scalar_one() if result.returns_rows else None


@pytest.fixture
def url(postgresql: PostgresqlServer) -> Iterator[str]:
    url = postgresql.url("taken-away")
    run(url, "CREATE TABLE kept AS SELECT 7 AS number")
    yield url
    run(url, "DROP TABLE kept")


def test_a_database_is_made_once_and_needs_the_password(postgresql: PostgresqlServer, url: str) -> None:
    assert postgresql.url("taken-away") == url
    assert run(url, "SELECT number FROM kept") == 7
    wrong = make_url(url).set(drivername="postgresql", password="wrong").render_as_string(hide_password=False)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_what_was_committed_outlives_a_crash_a_restart_and_the_thread_that_did_it(
    postgresql: PostgresqlServer, url: str
) -> None:
    def go_down_and_up() -> None:
        postgresql.stop()
        assert not postgresql.answers()
        postgresql.start()
        postgresql.restart()

    thread = threading.Thread(target=go_down_and_up)
    thread.start()
    thread.join()
    assert run(url, "SELECT number FROM kept") == 7


def test_a_paused_server_answers_once_it_goes_on(postgresql: PostgresqlServer, url: str) -> None:
    with psycopg.connect(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)) as held:
        postgresql.pause()
        answers: list[int | None] = []
        asking = threading.Thread(target=lambda: answers.append(held.execute("SELECT 7").fetchone()[0]))
        asking.start()
        asking.join(0.2)
        assert answers == []
        postgresql.resume()
        asking.join()
        assert answers == [7]


@pytest.mark.server
def test_nothing_of_a_server_is_left_even_if_it_stands_still(tmp_path: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    with postgresql_server(tmp_path) as server:
        started = set(psutil.Process().children(recursive=True)) - before
        assert len(started) > 1
        server.pause()
    assert not any(process.is_running() for process in started)
    assert not server.folder.exists()
