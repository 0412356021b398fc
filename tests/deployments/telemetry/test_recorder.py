from __future__ import annotations

from collections.abc import Callable

import pytest

from deployments.telemetry.deployment import RayRecorder
from deployments.telemetry.metric import NOT_RECORDED, Metric, Recorder
from tests.deployments.telemetry.recorded import Recorded

COUNTER = Metric("musicgen_test_things_total", "counter", "Things.", "things", ("model", "queue"))
GAUGE = Metric("musicgen_test_size", "gauge", "Size.", "things", ("model",))
HISTOGRAM = Metric("musicgen_test_seconds", "histogram", "Time.", "seconds", (), (1.0, 2.0))

# Ray's records outside of a cluster too, to no effect.
each_recorder = pytest.mark.parametrize(
    "recorder", [Recorded(), NOT_RECORDED, RayRecorder()], ids=lambda r: str(type(r))
)


@each_recorder
def test_what_is_right_is_taken(recorder: Recorder) -> None:
    recorder.add(COUNTER, 0, model="a", queue="batch")
    recorder.add(COUNTER, model="a", queue="batch")
    recorder.labelled(model="a").labelled(queue="batch").add(COUNTER, 2.5)
    recorder.set(GAUGE, 0, model="a")
    recorder.observe(HISTOGRAM, 1.5)


@each_recorder
@pytest.mark.parametrize(
    "call",
    [
        lambda recorder: recorder.add(COUNTER, model="a"),
        lambda recorder: recorder.add(COUNTER, model="a", queue="batch", prompt="a song"),
        lambda recorder: recorder.labelled(key="a").observe(HISTOGRAM, 1),
        lambda recorder: recorder.add(COUNTER, -1, model="a", queue="batch"),
        lambda recorder: recorder.add(GAUGE, model="a"),
        lambda recorder: recorder.set(COUNTER, 1, model="a", queue="batch"),
        lambda recorder: recorder.observe(GAUGE, 1, model="a"),
    ],
)
def test_other_labels_and_another_kind_are_refused(recorder: Recorder, call: Callable[[Recorder], None]) -> None:
    with pytest.raises(ValueError, match="musicgen_test"):
        call(recorder)


def test_labels_of_the_call_go_before_those_given_earlier() -> None:
    recorded = Recorded()
    recorded.labelled(model="a").set(GAUGE, 1, model="b")
    assert recorded.last(GAUGE) == {("b",): 1}
