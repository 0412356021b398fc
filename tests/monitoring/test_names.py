"""What rules and panels ask for, against the list of all metrics: its names, its labels, its buckets."""

from __future__ import annotations

import re

import pytest

from deployments.telemetry.metric import Metric
from serve_app.telemetry.catalogue import BY_NAME, METRICS
from tests.monitoring.files import DASHBOARD, expressions_of_panels, expressions_of_rules, rules, selectors

RULES, PANELS = expressions_of_rules(), expressions_of_panels(DASHBOARD)


@pytest.mark.parametrize("expression", [*RULES, *PANELS])
def test_only_metrics_of_the_list_are_asked_for_with_labels_and_buckets_that_they_have(expression: str) -> None:
    for selector in selectors(expression):
        metric = BY_NAME[selector.metric]
        assert (metric.kind == "histogram") == bool(selector.part)
        for label, _, value in selector.matchers:
            assert label in metric.labels or (label == "le" and float(value) in metric.buckets)


@pytest.mark.parametrize("expression", [*RULES, *PANELS])
def test_counters_and_histograms_are_looked_at_by_what_they_rise(expression: str) -> None:
    rising = [each for each in selectors(expression) if BY_NAME[each.metric].kind != "gauge"]
    ranges = re.findall(r"(?:rate|increase)\(musicgen_[a-z_]+(?:\{[^}]*\})?\[\w+\]\)", expression)
    assert len(ranges) == len(rising)


def test_sums_of_a_histogram_which_are_ray_s_guess_are_not_asked_for() -> None:
    assert [each for expression in [*RULES, *PANELS] for each in selectors(expression) if each.part == "sum"] == []


def test_what_is_asked_for_as_recorded_is_recorded_and_what_is_recorded_is_asked_for() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked_for = {name for each in [*RULES, *PANELS] for name in re.findall(r"\bmusicgen:[a-z_:0-9]+", each)}
    assert asked_for == recorded


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_of_the_list_is_shown_somewhere(metric: Metric) -> None:
    shown = {each.metric for expression in [*RULES, *PANELS] for each in selectors(expression)}
    assert metric.name in shown
