from __future__ import annotations

from serve_app.database.leases import LEASES_LOST
from serve_app.pipeline.generation_metrics import (
    AUDIO,
    GENERATIONS,
    REAL_TIME_FACTOR,
    RESUMED,
    SLOT_WAIT,
    EndedGeneration,
    record_generation,
    start_series,
)
from tests.deployments.telemetry.recorded import Recorded

PLACE = ("m", "batch")


def test_a_finished_generation_is_counted_with_its_throughput() -> None:
    recorded = Recorded()
    record_generation(recorded, EndedGeneration("m", "batch", "made", 30.0, 2, waited_s=1.5, worked_s=6.0))
    assert recorded.total(GENERATIONS) == {(*PLACE, "made"): 1}
    assert recorded.total(AUDIO) == {PLACE: 30}
    assert recorded.total(RESUMED) == {PLACE: 2}
    assert recorded.values(SLOT_WAIT) == {PLACE: [1.5]}
    assert recorded.values(REAL_TIME_FACTOR) == {PLACE: [5]}


def test_an_unfinished_generation_says_nothing_of_throughput_and_one_without_a_slot_nothing_of_waiting() -> None:
    recorded = Recorded()
    record_generation(recorded, EndedGeneration("m", "batch", "left", 3.0, 0, waited_s=1.0, worked_s=2.0))
    record_generation(recorded, EndedGeneration("m", "batch", "refused", 0.0, 0))
    assert recorded.values(REAL_TIME_FACTOR) == {}
    assert recorded.values(SLOT_WAIT) == {PLACE: [1]}
    assert recorded.total(AUDIO) == {PLACE: 3}


def test_series_of_rare_events_start_at_zero() -> None:
    recorded = Recorded()
    start_series(recorded, [("m", "batch"), ("m", "realtime")])
    assert recorded.total(RESUMED) == {PLACE: 0, ("m", "realtime"): 0}
    assert recorded.total(GENERATIONS) == {(*PLACE, "given_up"): 0, ("m", "realtime", "given_up"): 0}
    assert recorded.total(LEASES_LOST) == {("generation",): 0}
