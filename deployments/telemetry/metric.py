"""What a metric is: a name, what it counts, and the labels that tell its series apart.

Where figures go: an interface of three calls, which whoever has something to tell is given.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
# How the figures of several processes become one: a gauge that all of them take of the same thing is not summed up.
Across = Literal["sum", "max"]

PREFIX = "musicgen_"

_NAME = re.compile(r"musicgen(_[a-z]+)+")


@dataclass(frozen=True)
class Metric:
    """name: with the prefix, and `_total` where it is a counter. help: one sentence, in ASCII as Ray takes it. unit: of
    the value. labels: in the order of the documents; each has few values, none of which a client can make up.

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
        """Raises: ValueError for what Prometheus or Ray would not take."""
        if not _NAME.fullmatch(self.name) or (self.kind == "counter") != self.name.endswith("_total"):
            raise ValueError(f"{self.name} is no name of a {self.kind}")
        if not self.help.isascii():
            raise ValueError(f"the help of {self.name} is not ASCII")
        if list(self.buckets) != sorted(set(self.buckets)) or (self.kind == "histogram") != bool(self.buckets):
            raise ValueError(f"a {self.kind} does not have the buckets {self.buckets}")


class Recorder(ABC):
    """Takes figures from any thread, at once, and without fail for a metric and labels that are right.

    Every call raises ValueError for a metric of another kind and for other labels than the metric's.
    """

    def add(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """A counter goes up. By 0 its series begins: only of one that is there already is the first increase seen."""
        if amount < 0:
            raise ValueError(f"{metric.name} can't go down, and {amount} is below 0")
        self._checked("counter", metric, amount, labels)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """A gauge stands there now. To be told again every REFRESH_S: what is not is forgotten."""
        self._checked("gauge", metric, value, labels)

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """A histogram has one value more."""
        self._checked("histogram", metric, value, labels)

    def labelled(self, **labels: str) -> Recorder:
        """The same, which adds these labels to every call."""
        return _Labelled(self, labels)

    @abstractmethod
    def record(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """What the three calls come to, when they are right."""

    def _checked(self, kind: Kind, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        if metric.kind != kind:
            raise ValueError(f"{metric.name} is a {metric.kind}, not a {kind}")
        self.record(metric, value, labels)


# Half of what Ray remembers a gauge for is ten seconds, its interval of reporting (`metrics_report_interval_ms`).
REFRESH_S = 5.0


def check_labels(metric: Metric, labels: Mapping[str, str]) -> None:
    """Raises: ValueError unless they are the metric's own, all of them."""
    if labels.keys() != set(metric.labels):
        raise ValueError(f"{metric.name} has the labels {', '.join(metric.labels)}, not {', '.join(labels)}")


class NotRecorded(Recorder):
    """Takes what is right, and keeps nothing."""

    def record(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        check_labels(metric, labels)


class _Labelled(Recorder):
    def __init__(self, recorder: Recorder, labels: Mapping[str, str]) -> None:
        self._recorder = recorder
        self._labels = labels

    def record(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        self._recorder.record(metric, value, {**self._labels, **labels})


NOT_RECORDED = NotRecorded()
