"""A recorder that a test can ask."""

from __future__ import annotations

from collections.abc import Mapping

from deployments.telemetry.metric import Metric, Recorder, check_labels


class Recorded(Recorder):
    """Keeps the sum of a counter, the last value of a gauge, all values of a histogram; by their labels' values."""

    def __init__(self) -> None:
        self._values: dict[str, dict[tuple[str, ...], list[float]]] = {}

    def record(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        check_labels(metric, labels)
        series = self._values.setdefault(metric.name, {})
        series.setdefault(tuple(labels[name] for name in metric.labels), []).append(value)

    def total(self, metric: Metric) -> dict[tuple[str, ...], float]:
        return {labels: sum(values) for labels, values in self._of(metric).items()}

    def last(self, metric: Metric) -> dict[tuple[str, ...], float]:
        return {labels: values[-1] for labels, values in self._of(metric).items()}

    def values(self, metric: Metric) -> dict[tuple[str, ...], list[float]]:
        return dict(self._of(metric))

    def _of(self, metric: Metric) -> dict[tuple[str, ...], list[float]]:
        return self._values.get(metric.name, {})
