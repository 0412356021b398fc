"""What is reported for scaling, and what an operator may aim at."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.scaling_stats import Targets, waiting_names, waiting_numbers


def test_targets_come_back_from_a_deploy_file_as_they_went_in() -> None:
    for queue in ("realtime", "batch"):
        targets = Targets.usual(queue)  # type: ignore[arg-type]
        assert Targets.read(targets.user_config()) == targets


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "a mapping of target_load and target_wait_s"),
        ({"target_load": 0.5, "target_wait_s": 1, "more": 1}, "a mapping of target_load and target_wait_s"),
        ({"target_load": True, "target_wait_s": 1}, "are numbers"),
        ({"target_load": 0, "target_wait_s": 1}, "target_load is more than 0"),
        ({"target_load": 0.5, "target_wait_s": float("inf")}, "target_wait_s is more than 0 and at most 86400"),
        ({"target_load": float("nan"), "target_wait_s": 1}, "target_load is more than 0"),
    ],
)
def test_targets_that_are_none_are_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Targets.read(config)


def test_places_where_nothing_waits_are_reported_too() -> None:
    places = [("m", "realtime"), ("m", "batch")]
    numbers = waiting_numbers({("m", "batch"): (2, 60.0)}, places)  # type: ignore[arg-type, dict-item]
    realtime, batch = (waiting_names(place) for place in places)  # type: ignore[arg-type]
    assert [numbers[name] for name in (*realtime, *batch)] == [0, 0, 2, 60.0]
    assert len(numbers) == 4
