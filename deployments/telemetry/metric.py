"""Metrics: a name, what it measures, and the labels of its series; and `Recorder`, to which their values are given."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
# How the values of several processes become one: a gauge of the same thing in all of them is not summed up.
Across = Literal["sum", "max"]

PREFIX = "musicgen_"

_NAME = re.compile(r"musicgen(_[a-z]+)+")


@dataclass(frozen=True)
class Metric:
    """One metric, and what Prometheus is told of it.

    Attributes:
        name: with the prefix, and `_total` where it is a counter.
        help: one sentence, in ASCII as Ray takes it.
        unit: of the value.
        labels: in the order of the documents; each has few values, none of which a client can choose freely.
        buckets: upper bounds of a histogram's, without the last, which has none.
    """

    name: str
    kind: Kind
    help: str
    unit: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    across: Across = "sum"

    def __post_init__(self) -> None:
        """Checks the name, help and buckets.

        Raises:
            ValueError: For what Prometheus or Ray would not take.
        """
        if not _NAME.fullmatch(self.name) or (self.kind == "counter") != self.name.endswith("_total"):
            raise ValueError(f"{self.name} is no name of a {self.kind}")
        if not self.help.isascii():
            raise ValueError(f"the help of {self.name} is not ASCII")
        if list(self.buckets) != sorted(set(self.buckets)) or (self.kind == "histogram") != bool(self.buckets):
            raise ValueError(f"a {self.kind} does not have the buckets {self.buckets}")


class Recorder(ABC):
    """Takes values from any thread, and returns at once.

    Every call raises ValueError for a metric of another kind and for other labels than the metric's, and nothing else.
    """

    def add(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Increases a counter. Adding 0 begins its series: the first increase is seen only in a series that exists."""
        if amount < 0:
            raise ValueError(f"{metric.name} can't go down, and {amount} is below 0")
        self._checked("counter", metric, amount, labels)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Sets a gauge. To be repeated every REFRESH_S: it is forgotten otherwise."""
        self._checked("gauge", metric, value, labels)

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Adds one value to a histogram."""
        self._checked("histogram", metric, value, labels)

    def labelled(self, **labels: str) -> Recorder:
        """The same recorder, with these labels added to every call."""
        return _Labelled(self, labels)

    @abstractmethod
    def record(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Where the three calls above end, once they are checked."""

    def _checked(self, kind: Kind, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        if metric.kind != kind:
            raise ValueError(f"{metric.name} is a {metric.kind}, not a {kind}")
        self.record(metric, value, labels)


# Ray remembers a gauge for two of its reporting intervals of ten seconds (`metrics_report_interval_ms`).
REFRESH_S = 5.0


def check_labels(metric: Metric, labels: Mapping[str, str]) -> None:
    """Checks that these labels are those of the metric.

    Raises:
        ValueError: Unless they are the metric's own, all of them.
    """
    if labels.keys() != set(metric.labels):
        raise ValueError(f"{metric.name} has the labels {', '.join(metric.labels)}, not {', '.join(labels)}")


class NotRecorded(Recorder):
    """Checks the labels, and records nothing."""

    def record(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        check_labels(metric, labels)


class _Labelled(Recorder):
    def __init__(self, recorder: Recorder, labels: Mapping[str, str]) -> None:
        self._recorder = recorder
        self._labels = labels

    def record(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        self._recorder.record(metric, value, {**self._labels, **labels})


NOT_RECORDED = NotRecorded()
