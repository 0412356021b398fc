"""The log of one node's watcher and its events: one JSON object a line, with the keys of Serve's own JSON logs."""

from __future__ import annotations

import json
import logging
import time
from datetime import datetime, timezone
from logging import ERROR, INFO, WARNING
from typing import TextIO

from deployments.telemetry.log_event import LogEvent, Value

WAITING = LogEvent(
    "waiting",
    INFO,
    "%(reason)s; waited for up to %(start_s)g s",
    "The node is not there yet: it may be about to start.",
)
WATCHING = LogEvent("watching", INFO, "%(url)s is asked for a notice every %(poll_s)g s", "The watch has begun.")
METADATA_FAILED = LogEvent(
    "metadata_failed",
    WARNING,
    "%(reason)s; tried again until it answers",
    "While it lasts, a notice of this node's end would not be seen.",
)
METADATA_ANSWERS = LogEvent(
    "metadata_answers", INFO, "the metadata server answers again", "That is over.", more=("failures",)
)
REBALANCE = LogEvent(
    "rebalance",
    WARNING,
    "this instance is at elevated risk of interruption; it goes on working",
    "AWS recommends to move its work; the watch was started with --rebalance log.",
)
NOTICE = LogEvent(
    "notice",
    WARNING,
    "%(why)s: the node is drained",
    "What runs on it moves to others; nothing is lost by it if Ray takes the drain in time.",
    more=("remaining_s",),
)
DRAIN_FAILED = LogEvent(
    "drain_failed",
    ERROR,
    "%(reason)s; tried again in %(retry_s)g s",
    "Ray's control service did not take the drain; see whether the head is up.",
    more=("left_s",),
)
DRAINING = LogEvent("draining", WARNING, "Ray drains the node", "Ray has taken the drain.", more=("left_s",))
NODE_GONE = LogEvent(
    "node_gone", INFO, "the node's raylet has ended", "The watch ends with it; of a drain this is the good end."
)
NOT_DRAINED = LogEvent(
    "not_drained",
    ERROR,
    "the node was not drained in time: what still ran there is lost",
    "Generations go on elsewhere; --deadline-s may be too short for what runs here.",
)
FAILED = LogEvent("failed", ERROR, "%(reason)s", "There is no node to watch or drain, or no Ray; the process ends.")
ENDED = LogEvent("ended", INFO, "told to end", "Somebody ended the watch: nobody looks for notices here now.")

# `notice` and `said` are in every line while a notice is acted on; the others in the lines of some events.
FIELDS = {
    "notice": "terminate | stop | hibernate | preempt | rebalance | unknown",
    "said": "the time of the end as the cloud gave it",
    "reason": "an error's own sentence",
    "url": "of the metadata server",
    "poll_s": "how often it is asked",
    "start_s": "how long to wait for the node at most",
    "failures": "how often the metadata server did not answer, one time after the other",
    "why": "the node is drained",
    "remaining_s": "until the end, when the notice was read; null: nobody knows",
    "retry_s": "until the next attempt",
    "left_s": "until Ray shall be done; below 0: it should have been by now; null: nobody knows",
}
EVENTS: tuple[LogEvent, ...] = tuple(each for each in list(vars().values()) if isinstance(each, LogEvent))


class WatcherLog:
    """Writes events. fields: what each line carries, such as the node's id."""

    def __init__(self, out: TextIO, **fields: str) -> None:
        self._out = out
        self._fields = fields

    def of(self, **fields: str) -> WatcherLog:
        """Returns the same log with these fields in each line too."""
        return WatcherLog(self._out, **{**self._fields, **fields})

    def tell(self, event: LogEvent, **values: Value) -> None:
        """Writes an event. Raises: ValueError for other fields than the event's own."""
        message, said = event.said(values)
        now_ns = time.time_ns()
        line = {
            "asctime": datetime.fromtimestamp(now_ns / 1e9, timezone.utc).isoformat(timespec="milliseconds"),
            "levelname": logging.getLevelName(event.level),
            "message": message,
            "event": event.name,
            **self._fields,
            **said,
            "timestamp_ns": now_ns,
        }
        # ASCII, so that text from outside can neither end the line nor control a terminal.
        print(json.dumps(line, ensure_ascii=True), file=self._out, flush=True)
