"""What a metric is: a name, what it counts, and the labels that tell its series apart."""

from __future__ import annotations

import re
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
