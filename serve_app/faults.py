"""Faults counted one by one, and logged once a minute for each kind."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from logging import WARNING

from deployments.telemetry.log_event import LogEvent
from deployments.telemetry.metric import NOT_RECORDED, Metric, Recorder

STORE_FAULT = LogEvent(
    "store_fault",
    WARNING,
    "%(of)s: %(kind)s: %(detail)s (%(since)d since last told)",
    "The cache's store, the database or Redis failed to do something; told once a minute for each kind.",
)
STORE_FAULTS = Metric(
    "musicgen_store_faults_total",
    "counter",
    "Calls of a store that failed. kind: what was asked, and how it failed: read timeout, lease take unreachable.",
    "calls",
    ("store", "kind"),
)
STORE_LEFT_OUT = Metric(
    "musicgen_store_left_out_total",
    "counter",
    "Calls that were not made, because the store is known to be down.",
    "calls",
    ("store",),
)


_EVERY_S = 60.0
_NOT_RECORDED = NOT_RECORDED.labelled(store="none")

_log = logging.getLogger("ray.serve.stores")  # below Serve's own, whose files and format it shares


class Faults:
    """clock: seconds, monotonic. log: where they are told. of: what has them, the first word of each line. recorder:
    counts them too; `store` is among its labels.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        log: logging.Logger = _log,
        of: str = "store",
        *,
        recorder: Recorder = _NOT_RECORDED,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._log = log
        self._of = of
        self._recorder = recorder
        self._logged_s: dict[str, float] = {}
        self._logged_counts: Counter[str] = Counter()
        recorder.add(STORE_LEFT_OUT, 0)

    def count(self, kind: str, detail: str) -> None:
        """kind: what to count it as. detail: for the log, a sentence without secrets and without what clients sent."""
        self.counts[kind] += 1
        self._recorder.add(STORE_FAULTS, kind=kind)
        now_s = self._clock()
        if kind in self._logged_s and now_s - self._logged_s[kind] < _EVERY_S:
            return
        since = self.counts[kind] - self._logged_counts[kind]
        STORE_FAULT.tell(self._log, of=self._of, kind=kind, detail=detail, since=since)
        self._logged_s[kind] = now_s
        self._logged_counts[kind] = self.counts[kind]

    def left_out(self, what: str) -> None:
        """A call was not made, since what it is for is known to be down. what: the call."""
        self.counts[f"{what} left out"] += 1
        self._recorder.add(STORE_LEFT_OUT)
