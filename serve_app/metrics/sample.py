"""One figure of one series, and how many of them become one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from deployments.metrics.catalogue import BY_NAME
from deployments.metrics.metric import PREFIX, Metric

# What Ray's agent puts before the name of every metric.
_RAY = "ray_"
_PARTS = ("_bucket", "_count", "_sum")
# The only label beside a metric's own: a figure of one node ends with it, and takes nothing from another's.
NODE = "node"


@dataclass(frozen=True)
class Sample:
    """name: of the metric, with `_bucket`, `_count` or `_sum` for the parts of a histogram."""

    metric: Metric
    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


def samples_of(page: bytes, node: str) -> list[Sample]:
    """Ours among all that a node's agent shows; those of its processes as one. Raises: ValueError for another format.

    node: what to call it.
    """
    # Ray's own are thousands of lines, and not looked at.
    ours = b"\n".join(line for line in page.splitlines() if line.startswith((_RAY + PREFIX).encode()))
    found: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[Metric, list[float]]] = {}
    try:
        families = list(text_string_to_metric_families(ours.decode() + "\n"))
    except ValueError as error:
        raise ValueError("that is not Prometheus' text format") from error
    for family in families:
        for name, labels, value, *_ in family.samples:
            metric = _metric_of(name)
            if metric is not None:
                key = name.removeprefix(_RAY), _own(metric, labels, node)
                found.setdefault(key, (metric, []))[1].append(value)
    return [Sample(metric, *key, _together(metric, values)) for key, (metric, values) in found.items()]


def _metric_of(name: str) -> Metric | None:
    """None for one that another version of this service has."""
    plain = name.removeprefix(_RAY)
    if plain in BY_NAME:
        return BY_NAME[plain]
    for part in _PARTS:
        metric = BY_NAME.get(plain.removesuffix(part))
        if metric is not None and plain.endswith(part) and metric.kind == "histogram":
            return metric
    return None


def _own(metric: Metric, labels: Mapping[str, str], node: str) -> tuple[tuple[str, str], ...]:
    bucket = (("le", labels["le"]),) if "le" in labels else ()
    return (*((name, labels.get(name, "")) for name in metric.labels), (NODE, node), *bucket)


def _together(metric: Metric, values: Iterable[float]) -> float:
    return max(values) if metric.across == "max" else sum(values)
