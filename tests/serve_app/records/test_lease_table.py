"""A lease has one holder at a time, its token only grows, and no clock but the shared one has a say."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from sqlalchemy import Connection, delete, func, insert, select

from serve_app.records.lease import MAX_LEASE_S, Lease, Taken
from serve_app.records.lease_table import LeaseTable
from serve_app.records.moment import Moment
from serve_app.records.schema import leases, swept_leases
from tests.serve_app.records.tables import LEASE_S, Clock, database, lease_table

HOUR_S = 3600.0


@dataclass
class Grant:
    """What the reference knows of a name. holder: empty once it was given back."""

    holder: str
    token: int
    value: str
    until: Moment


class LeaseMachine(RuleBasedStateMachine):
    """Two openings of a database, as two processes have, against a dictionary."""

    granted = Bundle("granted")
    names = st.sampled_from(["a", "b", "c"])
    holders = st.sampled_from(["one", "two", "three"])

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="leases-"))
        self.clock = Clock()
        self.tables = [LeaseTable(database(self.folder), lease_s=LEASE_S, clock=self.clock) for _ in range(2)]
        self.grants: dict[str, Grant] = {}
        self.num_crowds = 0

    def teardown(self) -> None:
        for table in self.tables:
            table.close()
        shutil.rmtree(self.folder)

    def table(self) -> LeaseTable:
        self.tables.reverse()
        return self.tables[0]

    def live(self, name: str) -> Grant | None:
        grant = self.grants.get(name)
        if grant is None or not grant.holder or grant.until.era != self.clock().era:
            return None
        return grant if self.clock.now_s < grant.until.now_s else None

    def may_be_swept(self, grant: Grant) -> bool:
        return grant.until.era != self.clock().era or grant.until.now_s < self.clock.now_s - HOUR_S

    def until(self) -> Moment:
        return Moment(self.clock.now_s + LEASE_S, self.clock().era)

    @rule(target=granted, name=names, holder=holders, value=st.sampled_from(["", "7"]))
    def take(self, name: str, holder: str, value: str) -> Lease:
        live, before = self.live(name), self.grants.get(name)
        outcome = self.table().take(name, holder, value)
        if live is not None:
            assert outcome == Taken(live.holder, live.value, live.until.now_s - self.clock.now_s)
            return Lease(name, "whoever", live.token)
        assert isinstance(outcome, Lease)
        assert (outcome.name, outcome.holder) == (name, holder)
        if before is not None:
            swept = self.may_be_swept(before) and outcome.token > before.token
            assert swept or outcome.token == before.token + 1
        self.grants[name] = Grant(holder, outcome.token, value, self.until())
        return outcome

    @rule(lease=granted)
    def renew(self, lease: Lease) -> None:
        grant = self.grants[lease.name]
        is_ours = (grant.holder, grant.token) == (lease.holder, lease.token)
        renewed = self.table().renew(lease)
        if is_ours and not renewed:
            assert self.may_be_swept(grant)
            grant.holder = ""
        else:
            assert renewed == is_ours
        if renewed:
            grant.until = self.until()

    @rule(lease=granted)
    def release(self, lease: Lease) -> None:
        self.table().release(lease)
        grant = self.grants[lease.name]
        if (grant.holder, grant.token) == (lease.holder, lease.token):
            grant.holder, grant.until = "", self.clock()

    @rule(name=names)
    def peek(self, name: str) -> None:
        live = self.live(name)
        expected = live and Taken(live.holder, live.value, live.until.now_s - self.clock.now_s)
        assert self.table().peek(name) == expected

    @rule(seconds=st.sampled_from([0.5, LEASE_S / 2, LEASE_S, 2 * HOUR_S]))
    def wait(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @rule()
    def boot(self) -> None:
        self.clock.boot()

    @rule()
    def new_names_come(self) -> None:
        self.num_crowds += 1
        assert isinstance(self.table().take(f"crowd {self.num_crowds}", "one"), Lease)

    @invariant()
    def is_whole(self) -> None:
        self.tables[0].check_integrity()


TestLeases = LeaseMachine.TestCase
TestLeases.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


def taken(outcome: Lease | Taken) -> Lease:
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
        assert table.take("alias/1", "two", "seed 8") == Taken("one", "seed 7", LEASE_S - 5)
        assert table.take("alias/1", "one") == table.peek("alias/1"), "its own holder got it a second time"
        assert table.renew(lease)
        assert table.peek("alias/1") == Taken("one", "seed 7", LEASE_S)
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
        assert table.peek("a") == Taken("two", "", LEASE_S), "it gave back what was another's"
        table.release(other)
        assert not table.renew(lease)
        assert not table.renew(other), "it was given back"


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
        assert table.peek("a") == Taken("one", "", MAX_LEASE_S)
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
    assert isinstance(found, Taken)
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

    def clock(connection: Connection) -> Moment:
        calls.append(1)
        if len(calls) == 1:
            row = {"name": "a", "holder": "other", "token": 1, "era": "", "expires_s": 9.0, "value": ""}
            connection.execute(insert(leases).values(row))
        return Moment(1.0, "")

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
