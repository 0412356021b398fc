"""Jobs on both databases: taken in, shown to their own tenant, cancelled and taken away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from serve_app.database.job_table import JobTable
from serve_app.job import Fault, IdempotencyKeyReused, TooManyQueued, UnknownJob, VariationId
from serve_app.scaling.policy import Waiting
from serve_app.stores.store import StoreError
from tests.serve_app.database.databases import Home
from tests.serve_app.database.jobs.at_table import begun, first, make, submitted
from tests.serve_app.database.jobs.submissions import saving, start, submission
from tests.serve_app.database.tables import Clock


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
    with pytest.raises(IdempotencyKeyReused):
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


def test_the_backlog_is_what_nobody_has_begun_by_model_and_queue_class(table: JobTable) -> None:
    assert table.backlog() == {}
    for tenant, queue, seeds in (("a", "batch", (1, 2)), ("b", "batch", (3,)), ("a", "realtime", (4,))):
        table.submit(submission(tenant, seeds=seeds, num_frames=100, queue=queue), 100)  # type: ignore[arg-type]
    expected = {("etude", "batch"): Waiting(3, 300), ("etude", "realtime"): Waiting(1, 100)}
    assert table.backlog() == expected
    [first] = table.candidates(1, {"realtime"})
    assert table.begin(first, 1)
    del expected["etude", "realtime"]
    assert table.backlog() == expected


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
