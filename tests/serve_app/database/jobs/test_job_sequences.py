"""Whatever is done in whatever order, the table of jobs agrees with lists and loops."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from deployments.messages import GenerationStart, QueueClass, Resumption
from serve_app.database.job_table import JobTable
from serve_app.database.lease_table import Lease, LeaseTable
from serve_app.job import (
    Checkpoint,
    ClaimedVariation,
    Fault,
    IdempotencyKeyReused,
    Job,
    SoundHealth,
    StaleToken,
    TooManyQueued,
    UnknownJob,
    VariationId,
)
from tests.postgresql import PostgresqlServer
from tests.serve_app.database import databases
from tests.serve_app.database.databases import Home
from tests.serve_app.database.jobs.job_model import JobModel
from tests.serve_app.database.jobs.submissions import HEALTHY, SILENT, frames, start, submission
from tests.serve_app.database.tables import LEASE_S, Clock

MAX_QUEUED = 6
NUM_FRAMES = 6
TENANTS = ["ours", "theirs"]


def comparable(value: Any) -> Any:
    """The same without arrays, which don't tell by `==` whether they are equal."""
    if isinstance(value, ClaimedVariation):
        return value.request, value.num_frames, value.attempts, comparable(value.resumption)
    if isinstance(value, Resumption):
        return comparable(value.start), comparable(value.codes)
    if isinstance(value, GenerationStart):
        return value.key, value.seed, value.outcome, value.identity, value.age_s, comparable(value.text_states)
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    return value


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return comparable(call())
    except (StaleToken, IdempotencyKeyReused, TooManyQueued, UnknownJob, ValueError) as error:
        return type(error)


class JobMachine(RuleBasedStateMachine):
    """Two openings of a database, as two processes have, against the reference."""

    make_home: Callable[[], contextlib.AbstractContextManager[Home]]

    ids = Bundle("ids")
    leases = Bundle("leases")
    tenants = st.sampled_from(TENANTS)
    tokens = st.sampled_from([0, 0, 0, 0, -1, 1])

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        home = self.stack.enter_context(type(self).make_home())
        self.clock = Clock()
        self.wall_s = 0.5
        opened = [home.open(max_connections=1) for _ in range(2)]
        self.tables = [JobTable(each, clock=self.clock, wall=lambda: self.wall_s) for each in opened]
        self.lease_table = LeaseTable(opened[0], lease_s=LEASE_S, clock=self.clock)
        self.model = JobModel(self.lease_table.peek, self.clock, lambda: self.wall_s)

    def teardown(self) -> None:
        self.stack.close()

    @property
    def table(self) -> JobTable:
        self.tables.reverse()
        return self.tables[0]

    def agree(self, of_table: Callable[[], Any], of_model: Callable[[], Any]) -> None:
        self.wall_s += 1
        assert outcome(of_table) == outcome(of_model)

    @initialize(target=ids, tenant=tenants)
    def submit_first(self, tenant: str) -> Any:
        return self.submit(tenant, [None, 2**64 - 1], "batch", None, "d" * 64)

    @rule(
        target=ids,
        tenant=tenants,
        seeds=st.lists(st.sampled_from([None, 0, 2**63, 2**64 - 1]), min_size=1, max_size=3),
        queue=st.sampled_from(["realtime", "batch"]),
        key=st.sampled_from([None, None, None, "k1", "k2"]),
        digest=st.sampled_from(["d" * 64, "d" * 64, "e" * 64]),
    )
    def submit(self, tenant: str, seeds: list[int | None], queue: QueueClass, key: str | None, digest: str) -> Any:
        asked = submission(tenant, seeds=tuple(seeds), num_frames=NUM_FRAMES, queue=queue, key=key, digest=digest)
        self.wall_s += 1
        refused = outcome(lambda: self.model.refuse(asked, MAX_QUEUED))
        if refused is not None:
            assert outcome(lambda: self.table.submit(asked, MAX_QUEUED)) is refused
            return multiple()
        job, is_new = self.table.submit(asked, MAX_QUEUED)
        assert (job, is_new) == self.model.submit(asked, job.id)
        return job.id if is_new else multiple()

    @rule(tenant=tenants, job_id=ids)
    def cancel(self, tenant: str, job_id: str) -> None:
        self.agree(lambda: self.table.cancel(tenant, job_id), lambda: self.model.cancel(tenant, job_id))

    @rule(tenant=tenants, job_id=ids)
    def remove(self, tenant: str, job_id: str) -> None:
        self.agree(lambda: self.table.remove(tenant, job_id), lambda: self.model.remove(tenant, job_id))

    @rule(ago_s=st.sampled_from([0.0, 3.0, 20.0]), limit=st.integers(1, 3))
    def sweep(self, ago_s: float, limit: int) -> None:
        before_s = self.wall_s - ago_s
        self.agree(lambda: self.table.sweep(before_s, limit), lambda: self.model.sweep(before_s, limit))

    @rule(tenant=tenants, limit=st.integers(1, 3), before=ids)
    def page(self, tenant: str, limit: int, before: str) -> None:
        self.agree(lambda: self.table.page(tenant, limit, before), lambda: self.model.page(tenant, limit, before))

    @rule(pairs=st.lists(st.tuples(tenants, ids), max_size=4))
    def find_many(self, pairs: list[tuple[str, str]]) -> None:
        self.agree(lambda: self.table.find_many(pairs), lambda: self.model.find_many(pairs))

    @rule(target=leases, limit=st.integers(1, 3), classes=st.sets(st.sampled_from(["realtime", "batch"])))
    def take(self, limit: int, classes: set[QueueClass]) -> Any:
        """As a runner: looks what there is, takes the leases and begins."""
        found = self.table.candidates(limit, classes)
        assert found == self.model.candidates(limit, classes)
        held = []
        for variation in found:
            lease = self.lease_table.take(variation.lease_name, "runner")
            assert isinstance(lease, Lease)
            self.agree(
                lambda: self.table.begin(variation, lease.token),  # noqa: B023
                lambda: self.model.begin(variation, lease.token),  # noqa: B023
            )
            held.append((variation, lease))
        return multiple(*held)

    @rule(lease=leases, more=tokens)
    def begin(self, lease: tuple[VariationId, Lease], more: int) -> None:
        variation, token = lease[0], lease[1].token + more
        self.agree(lambda: self.table.begin(variation, token), lambda: self.model.begin(variation, token))

    @rule(lease=consumes(leases))
    def release(self, lease: tuple[VariationId, Lease]) -> None:
        self.lease_table.release(lease[1])

    @rule(
        parts=st.lists(
            st.tuples(leases, tokens, st.integers(0, NUM_FRAMES), st.integers(-1, NUM_FRAMES), st.booleans()),
            min_size=1,
            max_size=3,
            unique_by=lambda part: part[0][0],
        )
    )
    def save(self, parts: list[tuple[tuple[VariationId, Lease], int, int, int, bool]]) -> None:
        """From some frame that is saved on, or before it; now and then one too far on, and all is refused."""
        batch, is_right = [], True
        for (variation, lease), more, num_frames, before, with_start in parts:
            token = lease.token + more
            take = self.model.ours(variation, token)
            saved = 0 if take is None else take.shown.frames
            first = max(0, saved - before) if before >= 0 else saved + 1
            end = min(NUM_FRAMES, first + num_frames)
            begins = with_start or take is None or take.start is None
            part = frames(first, end) if end >= first else None
            is_right = is_right and (take is None or part is None or first <= saved)
            batch.append(Checkpoint(variation, token, start() if begins else None, part))
        if is_right:
            self.agree(lambda: self.table.save(batch), lambda: self.model.save(batch))
        else:
            with pytest.raises(ValueError, match="follow"):
                self.table.save(batch)

    @rule(lease=leases, more=tokens)
    def make_all(self, lease: tuple[VariationId, Lease], more: int) -> None:
        variation, token = lease[0], lease[1].token + more
        take = self.model.ours(variation, token)
        first = 0 if take is None else take.shown.frames
        batch = [Checkpoint(variation, token, start(), frames(first, NUM_FRAMES))]
        self.agree(lambda: self.table.save(batch), lambda: self.model.save(batch))

    @rule(lease=leases, more=tokens, health=st.sampled_from([None, HEALTHY, SILENT]))
    def succeed(self, lease: tuple[VariationId, Lease], more: int, health: SoundHealth | None) -> None:
        variation, token = lease[0], lease[1].token + more
        self.agree(
            lambda: self.table.succeed(variation, token, health), lambda: self.model.succeed(variation, token, health)
        )

    @rule(lease=leases, more=tokens)
    def fail(self, lease: tuple[VariationId, Lease], more: int) -> None:
        variation, token, fault = lease[0], lease[1].token + more, Fault("not_ready", "No place.")
        self.agree(lambda: self.table.fail(variation, token, fault), lambda: self.model.fail(variation, token, fault))

    @rule(lease=leases, more=tokens, delay_s=st.sampled_from([1.0, 30.0, 3600.0]), failed=st.booleans())
    def put_off(self, lease: tuple[VariationId, Lease], more: int, delay_s: float, failed: bool) -> None:
        variation, token = lease[0], lease[1].token + more
        self.agree(
            lambda: self.table.put_off(variation, token, delay_s, failed),
            lambda: self.model.put_off(variation, token, delay_s, failed),
        )

    @rule(lease=leases, more=tokens)
    def start_over(self, lease: tuple[VariationId, Lease], more: int) -> None:
        variation, token = lease[0], lease[1].token + more
        self.agree(lambda: self.table.start_over(variation, token), lambda: self.model.start_over(variation, token))

    @rule(seconds=st.sampled_from([2.0, LEASE_S, 3600.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @rule()
    def boot(self) -> None:
        self.clock.boot()

    @invariant()
    def everybody_sees_the_same_and_all_is_whole(self) -> None:
        for tenant in TENANTS:
            shown: list[Job] = self.table.page(tenant, 100, None)
            assert shown == self.model.page(tenant, 100, None)
            for job in shown:
                for number in range(len(job.variations)):
                    self.agree(
                        lambda: self.table.made(tenant, job.id, number),  # noqa: B023
                        lambda: self.model.made(tenant, job.id, number),  # noqa: B023
                    )
        assert self.table.candidates(9, ["realtime", "batch"]) == self.model.candidates(9, ["batch", "realtime"])
        self.table.check_integrity()


@contextlib.contextmanager
def _closed(home: Home) -> Iterator[Home]:
    try:
        yield home
    finally:
        home.close()


def run(make_home: Callable[[], contextlib.AbstractContextManager[Home]], num_examples: int, num_steps: int) -> None:
    machine = type("Machine", (JobMachine,), {"make_home": staticmethod(make_home)})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    limits = settings(
        max_examples=num_examples, stateful_step_count=num_steps, deadline=None, suppress_health_check=checks
    )
    run_state_machine_as_test(machine, settings=limits)


@contextlib.contextmanager
def _sqlite() -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="jobs-") as folder, _closed(databases.sqlite(Path(folder))) as home:
        yield home


def test_jobs_in_sqlite_agree_with_the_reference() -> None:
    run(_sqlite, num_examples=8, num_steps=25)


def test_jobs_in_postgresql_agree_with_the_reference(postgresql: PostgresqlServer) -> None:
    run(lambda: _closed(databases.postgresql(postgresql)), num_examples=2, num_steps=20)


@pytest.mark.nightly
def test_jobs_agree_with_the_reference_however_long_one_looks(postgresql: PostgresqlServer) -> None:
    run(_sqlite, num_examples=150, num_steps=60)
    run(lambda: _closed(databases.postgresql(postgresql)), num_examples=20, num_steps=60)
