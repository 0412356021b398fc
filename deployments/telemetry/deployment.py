"""The recorder inside a Ray cluster: Ray collects the metrics of all processes of a node, and its agent shows them.

There a metric is called `ray_musicgen_…`. A call takes about two microseconds, and the agent hears of it within ten
seconds. Counts stay when their process ends, until its node does; a gauge is forgotten after twenty seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock

from ray.util import metrics

from deployments.telemetry.metric import Metric, Recorder, check_labels


class RayRecorder(Recorder):
    """One for a process; a second one counts into the same series."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._metrics: dict[str, metrics.Metric] = {}

    def record(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        check_labels(metric, labels)
        # The public methods refuse to count 0, with which a series begins.
        self._of_ray(metric)._record(float(value), dict(labels))

    def _of_ray(self, metric: Metric) -> metrics.Metric:
        known = self._metrics.get(metric.name)
        if known is not None:
            return known
        with self._lock:
            if metric.name not in self._metrics:
                self._metrics[metric.name] = _made(metric)
            return self._metrics[metric.name]


def _made(metric: Metric) -> metrics.Metric:
    names = metric.name, metric.help
    if metric.kind == "histogram":
        return metrics.Histogram(*names, boundaries=list(metric.buckets), tag_keys=metric.labels)
    return (metrics.Counter if metric.kind == "counter" else metrics.Gauge)(*names, tag_keys=metric.labels)
