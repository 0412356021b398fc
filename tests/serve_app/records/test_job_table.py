"""Jobs on both databases: taken in, shown to their own tenant, made under a token, and taken away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deployments.messages import QueueClass
from serve_app.cache.store import StoreError
from serve_app.jobs.errors import Fenced, KeyReused, TooManyQueued, UnknownJob
from serve_app.jobs.job import Fault, Job
from serve_app.records.job_table import JobTable
from serve_app.records.lease import Lease
from serve_app.records.lease_table import LeaseTable
from serve_app.records.variation import Begun, Saving, VariationId
from tests.serve_app.records.databases import Home
from tests.serve_app.records.submissions import HEALTHY, SILENT, all_codes, frames, saving, start, submission
from tests.serve_app.records.tables import LEASE_S, Clock

BOTH: tuple[QueueClass, ...] = ("realtime", "batch")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(home: Home, clock: Clock) -> JobTable:
    return JobTable(home.open(), clock=clock, wall=lambda: clock.now_s)


@pytest.fixture
def leases(table: JobTable, clock: Clock) -> LeaseTable:
    return LeaseTable(table.database, lease_s=LEASE_S, clock=clock)


def submitted(table: JobTable, tenant: str = "ours", **options: object) -> Job:
    job, is_new = table.submit(submission(tenant, **options), 1000)  # type: ignore[arg-type]
    assert is_new
    return job


def first(job: Job) -> VariationId:
    return VariationId(job.id, 0)


def begun(table: JobTable, variation: VariationId, token: int) -> Begun:
    found = table.begin(variation, token)
    assert found is not None
    return found


def make(table: JobTable, variation: VariationId, token: int = 1) -> None:
    begun(table, variation, token)
    assert table.save([saving(variation, token, 0, 6, start())]) == set()
    table.succeed(variation, token)


def test_a_job_is_kept_as_it_was_submitted(table: JobTable) -> None:
    asked = submission(seeds=(None, 0, 2**63 - 1, 2**63, 2**64 - 1), queue="batch", key="k")
    job, is_new = table.submit(asked, 5)
    assert is_new
    assert job == table.find("ours", job.id)
    assert (job.state, job.version, job.position, job.progress) == ("queued", 0, 1, 0)
    assert (job.request, job.queue, job.created_s) == (asked.request, "batch", 1000)
    assert [each.seed for each in job.variations] == list(asked.seeds)
    for each in job.variations:
        begin = begun(table, VariationId(job.id, each.number), 1)
        assert begin.request == replace(asked.request, seed=each.seed)
        assert (begin.num_frames, begin.attempts, begin.resumption) == (6, 1, None)


def test_the_same_key_and_body_are_the_same_job_and_another_body_is_told(table: JobTable) -> None:
    job = submitted(table, key="k")
    begun(table, first(job), 1)
    again, is_new = table.submit(submission(key="k"), 0)
    assert (again.id, again.state, is_new) == (job.id, "running", False)
    with pytest.raises(KeyReused):
        table.submit(submission(key="k", digest="e" * 64), 1000)
    assert submitted(table, "theirs", key="k").id != job.id
    table.cancel("ours", job.id)
    assert table.remove("ours", job.id)
    assert submitted(table, key="k").id != job.id


def test_of_each_tenant_only_so_many_variations_wait(table: JobTable) -> None:
    job = submitted(table, seeds=(1, 2))
    with pytest.raises(TooManyQueued):
        table.submit(submission(seeds=(1, 2)), 3)
    table.submit(submission("theirs", seeds=(1, 2, 3)), 3)
    begun(table, first(job), 1)
    table.submit(submission(seeds=(1, 2)), 3)
    table.cancel("ours", job.id)
    table.submit(submission(), 3)
    assert [each.state for each in table.page("ours", 9, None)] == ["queued", "queued", "cancelled"]


def test_pages_are_newest_first_and_go_on_where_the_last_one_ended(table: JobTable) -> None:
    jobs = [submitted(table).id for _ in range(5)]
    theirs = submitted(table, "theirs").id
    assert [job.id for job in table.page("ours", 2, None)] == [jobs[4], jobs[3]]
    assert [job.id for job in table.page("ours", 9, jobs[3])] == [jobs[2], jobs[1], jobs[0]]
    assert table.page("ours", 9, jobs[0]) == []
    for unknown in (theirs, "0" * 32, "%", ""):
        with pytest.raises(UnknownJob):
            table.page("ours", 9, unknown)


def test_a_position_counts_the_tenants_own_jobs_of_that_class_that_wait(table: JobTable) -> None:
    submitted(table, "theirs")
    submitted(table, queue="batch")
    ours = [submitted(table, seeds=(1, 2)) for _ in range(3)]
    assert [job.position for job in ours] == [1, 2, 3]
    begun(table, VariationId(ours[0].id, 1), 1)
    found = table.find_many([("ours", job.id) for job in ours])
    assert [found[job.id].position for job in ours] == [None, 1, 2]
    assert found[ours[0].id].state == "running"


def test_codes_grow_under_the_token_and_whoever_comes_later_goes_on_from_them(table: JobTable) -> None:
    job = submitted(table, seeds=(None,))
    ours = first(job)
    assert begun(table, ours, 3).resumption is None
    assert table.save([saving(ours, 3, 0, 0, start(seed=2**64 - 1))]) == set()
    begin = begun(table, ours, 4)
    assert begin.resumption is not None
    assert begin.resumption.codes.shape == (0, 0)
    assert table.save([saving(ours, 3, 0, 2)]) == {ours}
    assert table.save([saving(ours, 4, 0, 2)]) == set()
    assert table.save([saving(ours, 4, 2, 5)]) == set()
    begin = begun(table, ours, 9)
    assert begin.attempts == 3
    assert begin.resumption is not None
    assert begin.resumption.codes.dtype == np.int16
    np.testing.assert_array_equal(begin.resumption.codes, all_codes(5))
    settled = begin.resumption.start
    assert settled.text_states is not None
    np.testing.assert_array_equal(settled.text_states, np.asarray(start(seed=2**64 - 1).text_states))
    assert replace(settled, text_states=None) == replace(start(seed=2**64 - 1), text_states=None)
    assert begin.request.seed == 2**64 - 1
    shown = table.find("ours", job.id)
    assert shown is not None
    assert (shown.variations[0].frames, shown.variations[0].generation) == (5, "a" * 64)
    assert table.made("ours", job.id, 0) is None
    table.save([saving(ours, 9, 5, 6)])
    table.succeed(ours, 9)
    made = table.made("ours", job.id, 0)
    assert made is not None
    np.testing.assert_array_equal(made.codes, all_codes(6))
    table.check_integrity()


def test_a_start_that_needed_no_text_is_kept_without_it(table: JobTable) -> None:
    ours = first(submitted(table))
    begun(table, ours, 1)
    hit = replace(start(), outcome="hit", age_s=90, text_states=None)
    table.save([Saving(ours, 1, hit, frames(0, 6))])
    found = begun(table, ours, 2).resumption
    assert found is not None
    assert found.start == hit


def test_whoever_is_fenced_writes_nothing_and_the_others_of_the_batch_all(table: JobTable) -> None:
    job = submitted(table, seeds=(1, 2, 3, 4))
    late, cancelled, ours, unknown = [VariationId(job.id, number) for number in (0, 1, 2, 9)]
    other = first(submitted(table, "theirs"))
    for each in (late, cancelled, ours, other):
        begun(table, each, 5)
    begun(table, late, 6)
    table.cancel("theirs", other.job_id)
    batch = [saving(each, 5, 0, 2, start()) for each in (late, cancelled, ours, other, unknown)]
    assert table.save(batch) == {late, other, unknown}
    assert table.save([saving(late, 7, 0, 2, start())]) == {late}, "a token that was never begun with"
    found = table.find("ours", job.id)
    assert found is not None
    assert [each.frames for each in found.variations] == [0, 2, 2, 0]
    assert table.save([Saving(late, 5, None, None), Saving(ours, 5, None, None)]) == {late}
    for end in (
        lambda: table.succeed(late, 5),
        lambda: table.fail(late, 5, Fault("internal", "…")),
        lambda: table.put_off(late, 5, 1, failed=True),
        lambda: table.start_over(late, 5),
        lambda: table.succeed(unknown, 5),
        lambda: table.put_off(other, 6, 1, failed=True),
    ):
        with pytest.raises(Fenced):
            end()


def test_whoever_comes_with_an_older_lease_begins_nothing(table: JobTable) -> None:
    job = submitted(table)
    ours = first(job)
    begun(table, ours, 5)
    before = table.find("ours", job.id)
    assert table.begin(ours, 4) is None
    assert table.begin(VariationId(job.id, 1), 9) is None
    assert table.find("ours", job.id) == before
    assert table.save([saving(ours, 5, 0, 2, start())]) == set()
    table.cancel("ours", job.id)
    with table.database.reading() as connection:
        assert connection.exec_driver_sql("SELECT token FROM variations").scalars().all() == [6]


def test_what_is_tried_again_since_its_answer_was_lost_does_no_harm(table: JobTable) -> None:
    job = submitted(table, seeds=(1, 2))
    ours, failing = first(job), VariationId(job.id, 1)
    begun(table, ours, 1)
    begun(table, failing, 1)
    table.save([saving(ours, 1, 0, 2, start())])
    assert table.save([saving(ours, 1, 0, 2, start())]) == set()
    assert table.save([saving(ours, 1, 0, 6, start())]) == set()
    assert table.save([saving(ours, 1, 1, 4)]) == set()
    table.succeed(ours, 1)
    table.fail(failing, 1, Fault("internal", "It broke."))
    ended = table.find("ours", job.id)
    table.succeed(ours, 1)
    table.fail(failing, 1, Fault("internal", "It broke."))
    assert table.find("ours", job.id) == ended
    with pytest.raises(Fenced):
        table.fail(ours, 1, Fault("internal", "…"))
    made = table.made("ours", job.id, 0)
    assert made is not None
    np.testing.assert_array_equal(made.codes, all_codes(6))
    table.check_integrity()


def test_how_it_sounds_is_kept_with_what_was_made(table: JobTable) -> None:
    job = submitted(table, seeds=(1, 2, 3, 4))
    for number, health in enumerate((HEALTHY, SILENT, None)):
        variation = VariationId(job.id, number)
        begun(table, variation, 1)
        table.save([saving(variation, 1, 0, 6, start())])
        table.succeed(variation, 1, health)
        table.succeed(variation, 1)  # the answer to the first time was lost, and another has no time to listen
    found = table.find("ours", job.id)
    assert found is not None
    assert [each.health for each in found.variations] == [HEALTHY, SILENT, None, None]
    table.check_integrity()


@pytest.mark.parametrize(
    "broken", ["collapsed = NULL", "state = 'cancelled'", "silent_share = NULL", "flatness = NULL"], ids=str
)
def test_half_of_how_it_sounds_is_found_out(table: JobTable, broken: str) -> None:
    job = submitted(table)
    begun(table, first(job), 1)
    table.save([saving(first(job), 1, 0, 6, start())])
    table.succeed(first(job), 1, HEALTHY)
    table.check_integrity()
    with table.database.writing() as connection:
        connection.exec_driver_sql(f"UPDATE variations SET {broken}")
    with pytest.raises(AssertionError, match="variation 1: "):
        table.check_integrity()


def test_frames_that_do_not_fit_what_is_saved_are_refused_and_nothing_of_the_batch_is_saved(table: JobTable) -> None:
    job = submitted(table, seeds=(1, 2))
    ours, other = first(job), VariationId(job.id, 1)
    begun(table, ours, 1)
    begun(table, other, 1)
    with pytest.raises(ValueError, match="without the start"):
        table.save([saving(ours, 1, 0, 2)])
    table.save([saving(ours, 1, 0, 2, start())])
    differing = Saving(ours, 1, None, replace(frames(0, 2), codes=all_codes(2) + np.int16(1)))
    wide = Saving(ours, 1, None, replace(frames(2, 4), codes=all_codes(2).astype(np.int64)))
    twice = [saving(ours, 1, 2, 3), saving(ours, 1, 3, 4)]
    for wrong, words in (
        ([saving(ours, 1, 3, 4)], "don't follow the 2 of 6"),
        ([saving(ours, 1, 2, 7)], "don't follow the 2 of 6"),
        ([differing], "not those that are saved already"),
        ([wide], "int16"),
        ([saving(ours, 1, 2, 4, start(key="b" * 64))], "another start"),
        (twice, "one saving for each"),
    ):
        with pytest.raises(ValueError, match=words):
            table.save([saving(other, 1, 0, 2, start()), *wrong])
    found = table.find("ours", job.id)
    assert found is not None
    assert [each.frames for each in found.variations] == [2, 0]
    with pytest.raises(ValueError, match="2 of 6 frames"):
        table.succeed(ours, 1)
    table.check_integrity()


def test_starting_over_drops_what_was_made_but_not_the_seed_that_was_told(table: JobTable) -> None:
    job = submitted(table, seeds=(None,))
    ours = first(job)
    begun(table, ours, 1)
    table.save([saving(ours, 1, 0, 4, start(seed=11))])
    table.start_over(ours, 1)
    found = table.find("ours", job.id)
    assert found is not None
    shown = found.variations[0]
    assert (shown.state, shown.frames, shown.generation, shown.seed) == ("running", 0, None, 11)
    begin = begun(table, ours, 2)
    assert (begin.resumption, begin.request.seed) == (None, 11)
    table.save([saving(ours, 2, 0, 6, start(seed=11, key="b" * 64))])
    table.succeed(ours, 2)
    table.check_integrity()


def test_a_job_that_is_cancelled_keeps_what_was_made_of_it(table: JobTable, clock: Clock) -> None:
    job = submitted(table, seeds=(1, 2, 3))
    make(table, first(job))
    begun(table, VariationId(job.id, 1), 4)
    table.save([saving(VariationId(job.id, 1), 4, 0, 2, start())])
    clock.now_s += 5
    cancelled = table.cancel("ours", job.id)
    assert cancelled is not None
    assert [each.state for each in cancelled.variations] == ["succeeded", "cancelled", "cancelled"]
    assert [each.frames for each in cancelled.variations] == [6, 2, 0]
    assert [each.ended_s for each in cancelled.variations] == [1000, 1005, 1005]
    assert cancelled.state == "cancelled"
    assert table.cancel("ours", job.id) == cancelled
    assert table.begin(VariationId(job.id, 2), 99) is None
    assert table.made("ours", job.id, 0) is not None
    assert table.made("ours", job.id, 1) is None


def test_only_what_has_ended_is_removed_or_swept_and_with_all_that_belongs_to_it(table: JobTable, clock: Clock) -> None:
    running, *ended = [submitted(table) for _ in range(5)]
    begun(table, first(running), 1)
    for job in ended:
        clock.now_s += 10
        make(table, first(job))
    assert not table.remove("ours", running.id)
    assert table.remove("ours", ended[3].id)
    assert not table.remove("ours", ended[3].id)
    assert table.sweep(1020) == 1
    assert table.sweep(2000, limit=1) == 1
    assert [job.id for job in table.page("ours", 9, None)] == [ended[2].id, running.id]
    table.cancel("ours", running.id)
    assert table.sweep(2000) == 2
    for name in ("jobs", "variations", "variation_starts", "variation_codes"):
        with table.database.reading() as connection:
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one() == 0


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


def test_every_change_that_can_be_seen_makes_the_version_grow(table: JobTable) -> None:
    job = submitted(table, seeds=(1, 2))
    ours, other = first(job), VariationId(job.id, 1)
    before = job
    for change in (
        lambda: table.begin(ours, 1),
        lambda: table.save([saving(ours, 1, 0, 0, start())]),
        lambda: table.save([saving(ours, 1, 0, 2)]),
        lambda: table.start_over(ours, 1),
        lambda: table.put_off(ours, 1, 0, failed=False),
        lambda: table.fail(ours, 1, Fault("internal", "It broke.")),
        lambda: table.begin(other, 1),
        lambda: table.cancel("ours", job.id),
    ):
        change()
        now = table.find("ours", job.id)
        assert now is not None
        assert now.version == before.version + 1
        assert now != replace(before, version=now.version)
        before = now
    table.save([saving(ours, 1, 0, 1)])
    table.cancel("ours", job.id)
    assert table.find("ours", job.id) == before


def test_what_is_another_tenants_is_as_if_it_were_not(table: JobTable) -> None:
    job = submitted(table, key="k")
    make(table, first(job))
    waiting = submitted(table)
    before = table.page("ours", 9, None)
    for job_id in (job.id, waiting.id):
        assert table.find("theirs", job_id) is None
        assert table.find_many([("theirs", job_id), ("", job_id)]) == {}
        assert table.cancel("theirs", job_id) is None
        assert not table.remove("theirs", job_id)
        assert table.made("theirs", job_id, 0) is None
        with pytest.raises(UnknownJob):
            table.page("theirs", 9, job_id)
    assert table.page("theirs", 9, None) == []
    theirs, is_new = table.submit(submission("theirs", key="k", digest="e" * 64), 1)
    assert (is_new, theirs.position) == (True, 1)
    assert table.find_many([("theirs", theirs.id), ("ours", theirs.id), ("theirs", job.id)]) == {theirs.id: theirs}
    assert table.page("ours", 9, None) == before


def test_a_database_that_is_gone_is_told(home: Home) -> None:
    table = JobTable(home.open())
    job = submitted(table)
    with table.database.writing() as connection:
        connection.exec_driver_sql("DROP TABLE variation_codes")
        connection.exec_driver_sql("DROP TABLE variation_starts")
    with pytest.raises(StoreError):
        table.begin(first(job), 1)
    found = table.find("ours", job.id)
    assert found == job, "half of a transaction was done"
