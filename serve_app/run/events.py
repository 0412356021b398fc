"""What the driver tells the runner: one line of JSON for each step of the way."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True)
class Event:
    """doing: what the driver is at. note: what should be known of what it deploys. running: everything is deployed,
    detail is the URL.

    refused: why nothing was started; failed: why what was started came to nothing; one sentence each.
    """

    state: Literal["doing", "note", "running", "refused", "failed"]
    detail: str

    def to_line(self) -> str:
        """The event as a line, with its end."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Event:
        """The event that `to_line` wrote."""
        return cls(**json.loads(line))
