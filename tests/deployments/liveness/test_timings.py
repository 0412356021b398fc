"""Times that contradict each other are refused, and the error says which must be less than which."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from deployments.liveness.timings import TIMINGS, Timings
from serve_app.settings.storage import DatabaseSettings

# What is changed, and the two that contradict each other then.
CONTRADICTIONS = [
    ({"tick_s": 2.0}, "tick_s", "stall_s"),
    ({"after_stall_s": 0.5}, "tick_s", "after_stall_s"),
    ({"stall_s": 5.0, "pipeline_first_sign_s": 6.0}, "stall_s", "engine_first_sign_s"),
    ({"stall_s": 3.0}, "stall_s", "pipeline_first_sign_s"),
    ({"answer_timeout_s": 5.0, "pipeline_first_sign_s": 6.0}, "answer_timeout_s", "engine_first_sign_s"),
    ({"answer_timeout_s": 3.0}, "answer_timeout_s", "pipeline_first_sign_s"),
    ({"caller_silence_s": 1.0}, "heartbeat_s", "caller_silence_s"),
    ({"engine_lease_s": 1.0}, "heartbeat_s", "engine_lease_s"),
    ({"engine_silence_s": 6.0}, "engine_lease_s + heartbeat_s", "engine_silence_s"),
    ({"caller_silence_s": 15.0}, "caller_silence_s", "database_lease_s"),
    ({"caller_return_s": 2.0}, "answer_timeout_s", "caller_return_s"),
]


@pytest.mark.parametrize(("changes", "less", "more"), CONTRADICTIONS)
def test_times_that_contradict_each_other_are_refused_by_name(changes: dict[str, float], less: str, more: str) -> None:
    with pytest.raises(ValueError, match="must be less than") as refused:
        replace(TIMINGS, **changes)
    assert str(refused.value).startswith(f"{less} (")
    assert f" must be less than {more} (" in str(refused.value)


def test_every_condition_is_tested() -> None:
    tested = {(less, more) for _, less, more in CONTRADICTIONS}
    assert {(less, more) for less, more, _ in Timings._conditions()} == tested


@pytest.mark.parametrize("name", [field.name for field in fields(Timings)])
def test_each_time_is_more_than_nothing(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0 and must be more than 0"):
        replace(TIMINGS, **{name: 0.0})


def test_the_default_of_the_database_lease_is_the_one_that_is_checked() -> None:
    assert DatabaseSettings().lease_s == TIMINGS.database_lease_s
