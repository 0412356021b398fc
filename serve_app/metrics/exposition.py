"""The page that Prometheus reads: every metric of the list, with what there is of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from deployments.metrics.catalogue import METRICS
from serve_app.metrics.sample import Sample

MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def exposition(samples: Iterable[Sample]) -> bytes:
    """In Prometheus' text format. The order is that of the list, and of the labels."""
    registry = CollectorRegistry()
    registry.register(_Samples(samples))
    return generate_latest(registry)


class _Samples(Collector):
    def __init__(self, samples: Iterable[Sample]) -> None:
        self._by_metric: defaultdict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            self._by_metric[sample.metric.name].append(sample)

    def collect(self) -> Iterable[Family]:
        for metric in METRICS:
            family = Family(metric.name.removesuffix("_total"), metric.help, metric.kind)
            for sample in sorted(self._by_metric[metric.name], key=_order):
                family.add_sample(sample.name, dict(sample.labels), sample.value)
            yield family


def _order(sample: Sample) -> tuple[object, ...]:
    labels = dict(sample.labels)
    bound = float(labels.pop("le", "inf"))
    return tuple(labels.items()), sample.name, bound
