"""The log of one node's watcher: one JSON object a line, for people at night and for what gathers logs."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from typing import TextIO


class Events:
    """fields: what each line carries, such as the node's id."""

    def __init__(self, out: TextIO, **fields: object) -> None:
        self._out = out
        self._fields = fields

    def of(self, **fields: object) -> Events:
        """The same log, each line with these fields too."""
        return Events(self._out, **{**self._fields, **fields})

    def info(self, event: str, message: str, **fields: object) -> None:
        """event: a word to search for; message: a sentence to read."""
        self._write("INFO", event, message, fields)

    def warning(self, event: str, message: str, **fields: object) -> None:
        """Somebody may have to look at it."""
        self._write("WARNING", event, message, fields)

    def error(self, event: str, message: str, **fields: object) -> None:
        """Somebody has to."""
        self._write("ERROR", event, message, fields)

    def _write(self, level: str, event: str, message: str, fields: dict[str, object]) -> None:
        now = datetime.fromtimestamp(time.time(), timezone.utc).isoformat(timespec="milliseconds")
        line = {"time": now, "level": level, "event": event, "message": message, **self._fields, **fields}
        # ASCII, so that nothing that was read can end the line or steer a terminal.
        print(json.dumps(line, ensure_ascii=True, default=str), file=self._out, flush=True)
