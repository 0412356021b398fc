"""A database that is not there, not ours, full or busy is told as such, and used again when it is well."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, event

from serve_app.database.engines import SqliteDatabase
from serve_app.database.lease_table import Lease, TakenLease
from serve_app.database.schema import leases
from serve_app.stores.store import StoreDenied, StoreError, StoreFull, StoreTimeout, StoreUnreachable
from tests.serve_app.database.tables import Clock, database, lease_table, locked


def pragma(words: str) -> Callable[..., None]:
    """What makes a real SQLite full, or one that can only be read: root may write anywhere."""

    def execute(connection: Any, _: object) -> None:
        connection.cursor().execute(f"PRAGMA {words}")

    return execute


def test_the_file_is_its_owners_in_a_folder_made_for_it_and_has_a_log(tmp_path: Path) -> None:
    with lease_table(tmp_path / "new" / "folder", Clock()) as table:
        assert not (tmp_path / "new").exists(), "something is opened before it is needed"
        table.take("a", "one")
        files = {path.name: path for path in (tmp_path / "new" / "folder").iterdir()}
        assert files.keys() == {"records.sqlite", "records.sqlite-wal", "records.sqlite-shm"}
        assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
        with table.database.reading() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 1
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 60_000


def test_a_file_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    with lease_table(tmp_path / "build", Clock()) as table, lease_table(tmp_path / "build", Clock()) as other:
        table.take("a", "one")
        shutil.rmtree(tmp_path / "build")
        assert isinstance(other.take("a", "two"), Lease)
        found = table.take("a", "three")
        assert isinstance(found, TakenLease)
        assert found.holder == "two", "it went on with a file that nobody else sees"


def test_whoever_reads_waits_for_no_writer_and_whoever_writes_does_not_wait_for_ever(tmp_path: Path) -> None:
    with lease_table(tmp_path, Clock(), timeout_s=0.02) as table:
        lease = table.take("a", "one")
        assert isinstance(lease, Lease)
        with locked(tmp_path):
            assert isinstance(table.peek("a"), TakenLease)
            for write in (lambda: table.take("b", "one"), lambda: table.renew(lease), lambda: table.release(lease)):
                with pytest.raises(StoreTimeout, match=r"records.sqlite: database is locked"):
                    write()
        assert table.renew(lease)


def test_a_full_disk_is_told_and_leases_can_still_be_read(tmp_path: Path) -> None:
    with lease_table(tmp_path, Clock()) as table:
        table.take("a", "one", "7")
    with lease_table(tmp_path, Clock()) as table:
        event.listen(table.database.engine, "connect", pragma("max_page_count=1"))
        with pytest.raises(StoreFull, match=r"records.sqlite: database or disk is full"):
            _ = [table.take(f"{number:0200}", "one") for number in range(1000)]
        assert isinstance(table.peek("a"), TakenLease)


def test_a_disk_that_can_only_be_read_is_told_as_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with lease_table(tmp_path, Clock()) as table:
        table.take("a", "one")
    denying = database(tmp_path)
    event.listen(denying.engine, "connect", pragma("query_only=ON"))
    with pytest.raises(StoreDenied, match=r"attempt to write a readonly database"), denying.writing() as connection:
        connection.exec_driver_sql("DELETE FROM leases")
    denying.close()

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(StoreDenied, match=r"records.sqlite: Permission denied"), database(tmp_path).reading():
        pass


def test_a_file_in_the_folders_place_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreUnreachable, match=r"records.sqlite: Not a directory"),
        database(tmp_path / "file").reading(),
    ):
        pass


def test_what_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "records.sqlite"
    file.write_bytes(b"notes\n" * 1000)
    opened = database(tmp_path)
    with pytest.raises(StoreError, match=r"file is not a database; move it away, and a new one is made"):
        opened.check_integrity()
    assert file.read_bytes() == b"notes\n" * 1000
    file.rename(tmp_path / "notes")
    opened.check_integrity()
    opened.close()


def test_a_broken_page_is_found(tmp_path: Path) -> None:
    with lease_table(tmp_path, Clock()) as table:
        for number in range(200):
            table.take(f"{number:0200}", "one")
    file = tmp_path / "records.sqlite"
    pages = bytearray(file.read_bytes())
    pages[5 * 4096 : 6 * 4096] = b"\xaa" * 4096
    file.write_bytes(pages)
    opened = database(tmp_path)
    with pytest.raises((AssertionError, StoreError), match=r"records.sqlite: .*(malformed|page|Tree)"):
        opened.check_integrity()
    opened.close()


def test_an_error_within_a_transaction_undoes_it_and_travels(tmp_path: Path) -> None:
    with lease_table(tmp_path, Clock()) as table:
        table.take("a", "one")
        with pytest.raises(ZeroDivisionError), table.database.writing() as connection:
            connection.execute(delete(leases)).rowcount / 0
        assert table.peek("a")


def test_a_statement_that_fails_is_told_without_what_it_was_about(tmp_path: Path) -> None:
    opened = database(tmp_path)
    with pytest.raises(StoreError) as failure, opened.writing() as connection:
        connection.exec_driver_sql("INSERT INTO nowhere VALUES (?)", ("canary",))
    assert "no such table: nowhere" in str(failure.value)
    assert "canary" not in f"{failure.value} {failure.value.__cause__}"
    opened.close()


def test_threads_that_open_it_at_once_all_find_it_ready(tmp_path: Path) -> None:
    for number in range(3):
        together = threading.Barrier(20)
        opened = [database(tmp_path / str(number)) for _ in range(20)]

        def ask(each: int) -> int:
            together.wait()  # noqa: B023
            with opened[each].writing() as connection:  # noqa: B023
                return int(connection.exec_driver_sql("SELECT count(*) FROM swept_leases").scalar_one())

        with ThreadPoolExecutor(20) as threads:
            assert list(threads.map(ask, range(20))) == [1] * 20
        for each in opened:
            each.close()


class OftenBusy(sqlite3.Connection):
    """Is told "locked" twice, as happens once in a thousand times when two make the file's log at the same moment."""

    num_refusals = 2

    def cursor(self, *args: Any) -> Any:
        if self.num_refusals:
            self.num_refusals -= 1
            raise sqlite3.OperationalError("database is locked")
        return super().cursor(*args)


def test_a_log_that_another_starts_at_the_same_moment_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    file = tmp_path / "records.sqlite"
    connection = sqlite3.connect(file, factory=OftenBusy)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        SqliteDatabase(file, timeout_s=0, max_connections=1)._start_log(connection)
    connection.num_refusals = 2
    SqliteDatabase(file, timeout_s=60, max_connections=1)._start_log(connection)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_the_log_does_not_outlive_the_last_who_uses_it(tmp_path: Path) -> None:
    with lease_table(tmp_path, Clock()) as table:
        table.take("a", "one")
    assert [path.name for path in tmp_path.iterdir()] == ["records.sqlite"]
