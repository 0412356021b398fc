"""Jobs that are made under a token, on both databases: what is saved of them, and by whom."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from serve_app.database.job_table import JobTable
from serve_app.job import Checkpoint, Fault, StaleToken, VariationId
from tests.serve_app.database.jobs.at_table import begun, first, submitted
from tests.serve_app.database.jobs.submissions import HEALTHY, SILENT, all_codes, frames, saving, start


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
    table.save([Checkpoint(ours, 1, hit, frames(0, 6))])
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
    assert table.save([Checkpoint(late, 5, None, None), Checkpoint(ours, 5, None, None)]) == {late}
    for end in (
        lambda: table.succeed(late, 5),
        lambda: table.fail(late, 5, Fault("internal", "…")),
        lambda: table.put_off(late, 5, 1, failed=True),
        lambda: table.start_over(late, 5),
        lambda: table.succeed(unknown, 5),
        lambda: table.put_off(other, 6, 1, failed=True),
    ):
        with pytest.raises(StaleToken):
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
    with pytest.raises(StaleToken):
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
    differing = Checkpoint(ours, 1, None, replace(frames(0, 2), codes=all_codes(2) + np.int16(1)))
    wide = Checkpoint(ours, 1, None, replace(frames(2, 4), codes=all_codes(2).astype(np.int64)))
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
