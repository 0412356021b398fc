from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from deployments.language_model.engine.engine_metrics import SLOTS
from deployments.telemetry.metric import Metric
from serve_app.pipeline.generation_metrics import SLOT_WAIT
from serve_app.telemetry.catalogue import METRICS
from serve_app.telemetry.metrics_page import Sample, exposition, parse_samples
from serve_app.telemetry.service_metrics import MODELS

RAYS_OWN = (
    'NodeAddress="10.0.0.1",SessionName="s",Version="2.60.0",WorkerId="{worker}",otel_scope_name="ray",Component="c"'
)


def line(name: str, labels: dict[str, str], value: float, worker: str = "w") -> str:
    """As an agent of Ray shows it."""
    own = "".join(f',{key}="{text}"' for key, text in labels.items())
    return f"ray_{name}{{{RAYS_OWN.format(worker=worker)}{own}}} {value}"


def page(*lines: str) -> bytes:
    others = ["# HELP ray_tasks Tasks", "# TYPE ray_tasks gauge", 'ray_tasks{State="RUNNING"} 7', "python_info 1"]
    return "\n".join([*others, *lines, ""]).encode()


def values(samples: list[Sample]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {(sample.name, sample.labels): sample.value for sample in samples}


def test_processes_of_a_node_are_summed_up_and_rays_own_labels_are_left_out() -> None:
    labels = {"model": "small", "pool": "realtime"}
    found = parse_samples(page(line(SLOTS.name, labels, 8, "a"), line(SLOTS.name, labels, 4, "b")), "n1")
    assert values(found) == {(SLOTS.name, (("model", "small"), ("pool", "realtime"), ("node", "n1"))): 12}


def test_what_all_processes_tell_of_the_same_thing_is_not_summed_up() -> None:
    found = parse_samples(page(*(line(MODELS.name, {"model": "small"}, 1, worker) for worker in "abc")), "n1")
    assert [sample.value for sample in found] == [1]


def test_a_histograms_parts_stay_apart_by_their_bounds() -> None:
    labels = {"model": "small", "queue": "batch"}
    lines = [
        line(f"{SLOT_WAIT.name}{part}", {**labels, **more}, value, worker)
        for worker in "ab"
        for part, more, value in (
            ("_bucket", {"le": "0.05"}, 1.0),
            ("_bucket", {"le": "+Inf"}, 3.0),
            ("_count", {}, 3.0),
            ("_sum", {}, 0.5),
        )
    ]
    found = values(parse_samples(page(*lines), "n1"))
    own = (("model", "small"), ("queue", "batch"), ("node", "n1"))
    assert found == {
        (f"{SLOT_WAIT.name}_bucket", (*own, ("le", "0.05"))): 2,
        (f"{SLOT_WAIT.name}_bucket", (*own, ("le", "+Inf"))): 6,
        (f"{SLOT_WAIT.name}_count", own): 6,
        (f"{SLOT_WAIT.name}_sum", own): 1,
    }


@pytest.mark.parametrize("name", ["musicgen_of_another_version_total", "musicgen_slots_bucket", "musicgen_"])
def test_what_is_not_in_the_list_is_left_out(name: str) -> None:
    assert parse_samples(page(f"ray_{name} 1"), "n1") == []


def test_what_is_no_page_of_figures_is_told_as_such() -> None:
    with pytest.raises(ValueError, match="text format"):
        parse_samples(b"ray_musicgen_slots{ 1", "n1")


def drawn_samples(metric: Metric) -> st.SearchStrategy[list[Sample]]:
    text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)
    labels = st.tuples(*[text for _ in metric.labels]).map(lambda drawn: tuple(zip(metric.labels, drawn, strict=True)))
    one = st.builds(
        lambda own, value: Sample(metric, metric.name, (*own, ("node", "n")), value),
        labels,
        st.floats(0, 1e12, allow_nan=False),
    )
    return st.lists(one, max_size=4, unique_by=lambda sample: sample.labels)


@given(st.sampled_from([m for m in METRICS if m.kind != "histogram"]).flatmap(drawn_samples))
def test_the_page_says_what_the_samples_do_whatever_is_in_a_label(samples: list[Sample]) -> None:
    read = {
        (each.name, frozenset(each.labels.items())): each.value
        for family in text_string_to_metric_families(exposition(samples).decode())
        for each in family.samples
    }
    assert read == {(each.name, frozenset(each.labels)): each.value for each in samples}


def test_the_page_tells_the_kind_and_the_help_of_every_metric_also_where_there_is_nothing_of_it() -> None:
    families = {f.name: f for f in text_string_to_metric_families(exposition([]).decode())}
    told = {metric.name.removesuffix("_total"): (metric.kind, metric.help) for metric in METRICS}
    assert {name: (family.type, family.documentation) for name, family in families.items()} == told


def test_buckets_come_in_the_order_of_their_bounds() -> None:
    bounds = ["10.0", "+Inf", "2.0", "0.5"]
    samples = [Sample(SLOT_WAIT, f"{SLOT_WAIT.name}_bucket", (("node", "n"), ("le", bound)), 1) for bound in bounds]
    lines = [each for each in exposition(samples).decode().splitlines() if "le=" in each]
    assert [each.split('le="')[1].split('"')[0] for each in lines] == ["0.5", "2.0", "10.0", "+Inf"]
