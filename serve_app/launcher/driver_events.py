"""What the driver tells the runner: one line of JSON for each step of the way.

The sentence inside the tracebacks that Serve reports when a deployment fails.
"""

from __future__ import annotations

import json
import re
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


# The last line of a traceback, and those after it that go on with the message: `module.Class: message`.
_RAISED = re.compile(
    r"^(?P<type>[A-Za-z_][\w.]*): (?P<message>\S.*(?:\n(?![ \t]+File |Traceback|[A-Za-z_][\w.]*: ).+)*)", re.M
)
_OURS = ("deployments.", "serve_app.", "etude.")


def root_cause(report: str) -> str:
    """What was raised last in `report`, on one line.

    Serve wraps a replica's traceback in another, as text, so the last exception line is the first that was raised.
    The errors of this project are sentences for the operator and stand alone; others are led by their type.
    A report without a traceback is its own cause.
    """
    last = None
    for last in _RAISED.finditer(report):  # noqa: B007 - the last match is what the loop is for
        pass
    if "Traceback" not in report or last is None:
        return " ".join(report.split())
    message = " ".join(last["message"].split())
    return message if last["type"].startswith(_OURS) else f"{last['type']}: {message}"
