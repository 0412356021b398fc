"""Which jobs are begun next, on both databases."""

from __future__ import annotations

from deployments.messages import QueueClass
from serve_app.database.job_table import JobTable
from serve_app.database.lease_table import Lease, LeaseTable
from serve_app.job import VariationId
from tests.serve_app.database.jobs.at_table import begun, first, submitted
from tests.serve_app.database.tables import LEASE_S, Clock

BOTH: tuple[QueueClass, ...] = ("realtime", "batch")


def test_a_position_counts_the_tenants_own_jobs_of_that_class_that_wait(table: JobTable) -> None:
    submitted(table, "theirs")
    submitted(table, queue="batch")
    ours = [submitted(table, seeds=(1, 2)) for _ in range(3)]
    assert [job.position for job in ours] == [1, 2, 3]
    begun(table, VariationId(ours[0].id, 1), 1)
    found = table.find_many([("ours", job.id) for job in ours])
    assert [found[job.id].position for job in ours] == [None, 1, 2]
    assert found[ours[0].id].state == "running"


def test_whoever_waits_was_put_off_or_is_held_is_no_candidate(
    table: JobTable, leases: LeaseTable, clock: Clock
) -> None:
    ours, other = [first(submitted(table)) for _ in range(2)]
    assert table.candidates(9, BOTH) == [ours, other]
    assert table.candidates(1, BOTH) == [ours]
    assert table.candidates(9, ["batch"]) == []
    assert table.candidates(9, []) == []
    lease = leases.take(ours.lease_name, "one")
    assert isinstance(lease, Lease)
    assert table.candidates(9, BOTH) == [other]
    begun(table, ours, lease.token)
    table.put_off(ours, lease.token, 30, failed=True)
    leases.release(lease)
    assert table.candidates(9, BOTH) == [other]
    clock.now_s += 31
    assert table.candidates(9, BOTH) == [ours, other]
    assert isinstance(leases.take(other.lease_name, "one"), Lease)
    clock.now_s += LEASE_S + 1
    assert table.candidates(9, BOTH) == [ours, other]


def test_what_was_put_off_by_another_clock_is_due(table: JobTable, clock: Clock) -> None:
    ours = first(submitted(table))
    begun(table, ours, 1)
    table.put_off(ours, 1, 60, failed=True)
    assert table.candidates(9, BOTH) == []
    clock.now_s -= 2 * 3600
    assert table.candidates(9, BOTH) == [ours]
    clock.now_s += 2 * 3600
    clock.boot()
    assert table.candidates(9, BOTH) == [ours]
    table.put_off(ours, 1, 10**9, failed=True)
    clock.now_s += 3600
    assert table.candidates(9, BOTH) == [ours]


def test_an_attempt_that_was_no_failure_does_not_count(table: JobTable) -> None:
    job = submitted(table)
    ours = first(job)
    begun(table, ours, 1)
    table.put_off(ours, 1, 0, failed=False)
    assert begun(table, ours, 2).attempts == 1
    table.put_off(ours, 2, 0, failed=True)
    assert begun(table, ours, 3).attempts == 2
    found = table.find("ours", job.id)
    assert found is not None
    assert found.variations[0].started_s == 1000


def test_one_tenants_thousand_jobs_do_not_stand_before_anothers_one(table: JobTable, leases: LeaseTable) -> None:
    many = [first(submitted(table, "many")) for _ in range(20)]
    some = [first(submitted(table, "some")) for _ in range(2)]
    batch = first(submitted(table, "patient", queue="batch"))
    assert table.candidates(5, BOTH) == [many[0], some[0], many[1], some[1], many[2]]
    assert table.candidates(99, BOTH)[-1] == batch
    for each in many[:3]:
        assert isinstance(leases.take(each.lease_name, "one"), Lease)
    assert table.candidates(4, BOTH) == [*some, many[3], many[4]]
    begun(table, many[15], 1)
    begun(table, batch, 1)
    assert table.candidates(3, BOTH) == [many[15], batch, some[0]]
