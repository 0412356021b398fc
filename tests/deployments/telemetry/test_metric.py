from __future__ import annotations

from dataclasses import replace

import pytest

from deployments.telemetry.metric import Metric
from serve_app.telemetry.catalogue import METRICS

COUNTER = Metric("musicgen_things_total", "counter", "Things.", "things", ("model",))
HISTOGRAM = Metric("musicgen_thing_seconds", "histogram", "Things.", "seconds", ("model",), (1.0, 2.0))
# Ray's and Prometheus' own, which would be written over.
TAKEN = {"le", "job", "instance", "node", "NodeAddress", "SessionName", "Version", "WorkerId", "Component"}


@pytest.mark.parametrize(
    ("metric", "wrong"),
    [
        (COUNTER, {"name": "musicgen_things"}),
        (COUNTER, {"name": "things_total"}),
        (COUNTER, {"name": "musicgen_Things_total"}),
        (COUNTER, {"help": "Größe."}),
        (COUNTER, {"buckets": (1.0,)}),
        (HISTOGRAM, {"buckets": ()}),
        (HISTOGRAM, {"buckets": (2.0, 1.0)}),
        (HISTOGRAM, {"buckets": (1.0, 1.0)}),
        (HISTOGRAM, {"name": "musicgen_thing_seconds_total"}),
    ],
)
def test_what_prometheus_or_ray_would_not_take_is_refused(metric: Metric, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"musicgen_|buckets|is no name"):
        replace(metric, **wrong)


def test_no_name_is_there_twice_or_is_a_part_of_anothers_histogram() -> None:
    names = [metric.name for metric in METRICS]
    parts = {f"{m.name}{part}" for m in METRICS if m.kind == "histogram" for part in ("_bucket", "_count", "_sum")}
    assert len(names) == len(set(names))
    assert parts.isdisjoint(names)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_labels_are_not_those_of_ray_or_prometheus(metric: Metric) -> None:
    assert TAKEN.isdisjoint(metric.labels)
    assert len(set(metric.labels)) == len(metric.labels)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_has_its_base_unit(metric: Metric) -> None:
    if metric.unit.startswith("seconds"):
        assert "seconds" in metric.name


def test_only_gauges_have_one_value_for_all_processes() -> None:
    assert all(metric.kind == "gauge" for metric in METRICS if metric.across == "max")
