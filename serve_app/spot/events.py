"""The log of one node's watcher: one JSON object a line, with the keys that Serve's own have in JSON."""

from __future__ import annotations

import json
import logging
import time
from datetime import datetime, timezone
from typing import TextIO

from deployments.logs.event import LogEvent, Value


class Events:
    """fields: what each line carries, such as the node's id."""

    def __init__(self, out: TextIO, **fields: str) -> None:
        self._out = out
        self._fields = fields

    def of(self, **fields: str) -> Events:
        """The same log, each line with these fields too."""
        return Events(self._out, **{**self._fields, **fields})

    def tell(self, event: LogEvent, **values: Value) -> None:
        """Writes it down. Raises: ValueError for other fields than the event's own."""
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
        # ASCII, so that nothing that was read can end the line or steer a terminal.
        print(json.dumps(line, ensure_ascii=True), file=self._out, flush=True)
