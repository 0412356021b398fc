"""Whatever is done in whatever order, a table of leases agrees with a dictionary."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from serve_app.database.lease_table import ClockReading, Lease, LeaseTable, TakenLease
from tests.serve_app.database.tables import LEASE_S, Clock, database

HOUR_S = 3600.0


@dataclass
class Grant:
    """What the reference knows of a name. holder: empty once it was given back."""

    holder: str
    token: int
    value: str
    until: ClockReading


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

    def until(self) -> ClockReading:
        return ClockReading(self.clock.now_s + LEASE_S, self.clock().era)

    @rule(target=granted, name=names, holder=holders, value=st.sampled_from(["", "7"]))
    def take(self, name: str, holder: str, value: str) -> Lease:
        live, before = self.live(name), self.grants.get(name)
        outcome = self.table().take(name, holder, value)
        if live is not None:
            assert outcome == TakenLease(live.holder, live.value, live.until.now_s - self.clock.now_s)
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
        expected = live and TakenLease(live.holder, live.value, live.until.now_s - self.clock.now_s)
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
