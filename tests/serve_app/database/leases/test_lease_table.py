"""A lease has one holder at a time, its token only grows, and no clock but the shared one has a say."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, func, insert, select

from serve_app.database.lease_table import MAX_LEASE_S, ClockReading, Lease, LeaseTable, TakenLease
from serve_app.database.schema import leases, swept_leases
from tests.serve_app.database.tables import LEASE_S, Clock, database, lease_table

HOUR_S = 3600.0


def taken(outcome: Lease | TakenLease) -> Lease:
    assert isinstance(outcome, Lease), outcome
    return outcome


def num_rows(table: LeaseTable) -> int:
    with table.database.reading() as connection:
        return connection.execute(select(func.count()).select_from(leases)).scalar_one()


def test_a_name_has_one_holder_who_tells_the_others_a_value(tmp_path: Path) -> None:
    clock = Clock()
    with lease_table(tmp_path, clock) as table:
        lease = taken(table.take("alias/1", "one", "seed 7"))
        clock.now_s += 5
        assert table.take("alias/1", "two", "seed 8") == TakenLease("one", "seed 7", LEASE_S - 5)
        assert table.take("alias/1", "one") == table.peek("alias/1"), "its own holder got it a second time"
        assert table.renew(lease)
        assert table.peek("alias/1") == TakenLease("one", "seed 7", LEASE_S)
        table.release(lease)
        assert table.peek("alias/1") is None
        assert taken(table.take("alias/1", "two")).token == lease.token + 1


def test_who_comes_back_late_keeps_a_lease_that_nobody_took_and_never_one_that_somebody_did(tmp_path: Path) -> None:
    clock = Clock()
    with lease_table(tmp_path, clock) as table:
        lease = taken(table.take("a", "one"))
        clock.now_s += LEASE_S + 1
        assert table.peek("a") is None
        assert table.renew(lease)
        clock.now_s += LEASE_S
        other = taken(table.take("a", "two"))
        assert not table.renew(lease)
        table.release(lease)
        assert table.peek("a") == TakenLease("two", "", LEASE_S), "it gave back what was another's"
        table.release(other)
        assert not table.renew(lease)
        assert not table.renew(other), "it was given back"


def test_an_earlier_grant_of_the_same_holder_is_another_lease(tmp_path: Path) -> None:
    clock = Clock()
    with lease_table(tmp_path, clock) as table:
        earlier = taken(table.take("a", "one"))
        clock.now_s += LEASE_S
        later = taken(table.take("a", "one"))
        assert not table.renew(earlier)
        table.release(earlier)
        assert table.renew(later)


def test_what_was_held_before_a_boot_is_free_though_the_clock_says_that_it_has_long_to_go(tmp_path: Path) -> None:
    clock = Clock()
    with lease_table(tmp_path, clock) as table:
        before = taken(table.take("a", "one"))
        clock.boot()
        assert table.peek("a") is None
        assert taken(table.take("a", "two")).token == before.token + 1


def test_a_clock_set_back_in_one_era_holds_no_lease_longer_than_any_may_last(tmp_path: Path) -> None:
    clock = Clock()
    with lease_table(tmp_path, clock) as table:
        taken(table.take("a", "one"))
        clock.now_s -= MAX_LEASE_S - LEASE_S
        assert table.peek("a") == TakenLease("one", "", MAX_LEASE_S)
        clock.now_s -= 1
        assert taken(table.take("a", "two"))


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_wall_clock_moved_by_an_hour_changes_nothing(
    hours: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = LeaseTable(database(tmp_path), lease_s=MAX_LEASE_S)
    lease = taken(table.take("a", "one"))
    now_s = time.time() + hours * HOUR_S
    monkeypatch.setattr(time, "time", lambda: now_s)
    monkeypatch.setattr(time, "time_ns", lambda: int(now_s * 1e9))
    found = table.take("a", "two")
    assert isinstance(found, TakenLease)
    assert 0 < found.expires_in_s <= MAX_LEASE_S
    assert table.renew(lease)
    table.close()


def test_old_rows_go_as_new_ones_come_and_leave_the_highest_token(tmp_path: Path) -> None:
    clock = Clock()
    with lease_table(tmp_path, clock) as table:
        for _ in range(5):
            lease = taken(table.take("often", "one"))
            table.release(lease)
        for number in range(60):
            taken(table.take(f"early {number}", "one"))
        clock.now_s += HOUR_S
        taken(table.take("in between", "one"))
        assert num_rows(table) == 62, "a row went that had not been over for an hour"
        clock.now_s += LEASE_S + 1
        for number in range(10):
            taken(table.take(f"late {number}", "one"))
        assert num_rows(table) == 11
        assert not table.renew(lease)
        again = taken(table.take("often", "two"))
        assert again.token > lease.token, "a token was given twice"


def test_rows_from_before_a_boot_go_too(tmp_path: Path) -> None:
    clock = Clock()
    with lease_table(tmp_path, clock) as table:
        for number in range(5):
            taken(table.take(f"before {number}", "one"))
        clock.boot()
        taken(table.take("after", "one"))
        assert num_rows(table) == 1


def test_a_row_that_comes_between_look_and_insert_is_seen_at_the_second_look(tmp_path: Path) -> None:
    # SQLite's writers take turns, so the clock, which is read in between, plays the other client of a PostgreSQL.
    calls: list[int] = []

    def clock(connection: Connection) -> ClockReading:
        calls.append(1)
        if len(calls) == 1:
            row = {"name": "a", "holder": "other", "token": 1, "era": "", "expires_s": 9.0, "value": ""}
            connection.execute(insert(leases).values(row))
        return ClockReading(1.0, "")

    table = LeaseTable(database(tmp_path), lease_s=LEASE_S, clock=clock)
    assert taken(table.take("a", "one")).token == 1
    assert len(calls) == 2
    table.close()


@pytest.mark.parametrize(
    ("name", "holder", "value", "said"),
    [
        ("a" * 201, "one", "", "200 printable characters at most"),
        ("a", "one\n", "", "200 printable characters at most"),
        ("a", "one", "\0", "200 printable characters at most"),
        ("", "one", "", "a lease has a name and a holder"),
        ("a", "", "", "a lease has a name and a holder"),
    ],
)
def test_texts_that_a_database_may_not_keep_are_refused(
    name: str, holder: str, value: str, said: str, tmp_path: Path
) -> None:
    with lease_table(tmp_path, Clock()) as table:
        with pytest.raises(ValueError, match=said):
            table.take(name, holder, value)
        assert table.take("é" * 200, "ü" * 200, "ß" * 200) == Lease("é" * 200, "ü" * 200, 1)


@pytest.mark.parametrize(
    ("breaking", "said"),
    [
        (delete(swept_leases), "no count of swept tokens"),
        (leases.update().values(token=0), "a: a token that was never given"),
        (leases.update().values(holder=""), "a: a value that nobody gave"),
        (leases.update().values(name=""), "a lease without a name"),
    ],
)
def test_rows_that_can_not_be_are_found(breaking: object, said: str, tmp_path: Path) -> None:
    table = LeaseTable(database(tmp_path), lease_s=LEASE_S)
    table.take("a", "one", "7")
    table.check_integrity()
    with table.database.writing() as connection:
        connection.execute(breaking)  # type: ignore[call-overload]
    with pytest.raises(AssertionError, match=said):
        table.check_integrity()
    table.close()
