"""`python -m serve_app.telemetry.documents logs | metrics` prints monitoring/LOGS.md or METRICS.md.

Tests compare them with what it prints.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence

from deployments.telemetry.log_event import LogEvent
from serve_app.spot import watcher_log as spot
from serve_app.telemetry.catalogue import EVENT_FIELDS, EVENTS, METRIC_LABELS, METRICS

_LOG_HEAD = """\
# Logs

Made by `python -m serve_app.telemetry.documents logs` from the events that each package declares; names and fields stay as they are.

With `logging_config: {encoding: JSON}` in the deploy file each line of a replica's log is one JSON object, whatever a
client sent. The files are `replica_*.log` in `serve/` of each node's log folder, `/tmp/ray/session_latest/logs`. A line
has `event` and that event's fields, listed below, and

| key | what |
|---|---|
| `levelname` | CRITICAL, ERROR: somebody has to look; WARNING: it failed, and the service went on; INFO: all is well |
| `message` | the event as a sentence; it may be worded anew, so search for `event` |
| `exc_text` | of an event with an error: its traceback, each line behind a bar |
| `timestamp_ns`, `asctime` | when: since 1970, and in the node's own time |
| `application`, `deployment`, `replica` | who told it |
| `node_id`, `actor_id`, `worker_id`, `process` | the same, as Ray names it |
| `filename`, `lineno` | where in the code |
| `request_id`, `route` | also of events without them, where Serve knows the request at hand |

A line without `event` is one of Serve's own. In a text the characters that break a line, steer a terminal or turn the
direction of writing stand as escape sequences (`\\n`, `\\x1b`, `\\u202e`), and a long one has lost its middle.

From an answer that somebody complains about to all that the log has of it:

```sh
cd /tmp/ray/session_latest/logs/serve
jq -c 'select(.request_id == "…")' replica_*.log    # X-Request-Id; also `generation`, and for a job its id
jq -c 'select(.generation == "…")' replica_*.log    # X-Generation-Id: its workers, and who else asked for it
jq -c 'select(.job == "…")' replica_*.log           # attempts; `job_made` has each variation's generation
jq -rs 'map(select(.levelname == "ERROR")) | group_by(.event)[] | "\\(length) \\(.[0].event)"' replica_*.log
```
"""
_SPOT_HEAD = """\

# The watcher's log

One JSON object a line, on the standard error of `musicgen node`, with the same keys for level, message
and time (`asctime` is in UTC).
"""

_PLACE = re.compile(r"%\((\w+)\)[.\d]*[a-z]")


def log_document() -> str:
    """The whole page."""
    parts = [
        _LOG_HEAD,
        *_part(EVENT_FIELDS, EVENTS),
        _SPOT_HEAD,
        *_part(spot.FIELDS, spot.EVENTS),
    ]
    return "".join(parts)


def _part(explained: Mapping[str, str], events: Sequence[LogEvent]) -> Iterator[str]:
    yield "\n## Events\n\n| event | level | fields | what it means | message |\n|---|---|---|---|---|\n"
    for event in events:
        fields = ", ".join(f"`{field}`" for field in event.fields)
        level = logging.getLevelName(event.level)
        cells = (f"`{event.name}`", level, fields, event.meaning, f"`{_sentence(event)}`")
        yield "| " + " | ".join(map(_cell, cells)) + " |\n"
    yield "\n## Fields\n\n| field | values |\n|---|---|\n"
    for name, values in explained.items():
        yield f"| `{name}` | {_cell(values)} |\n"


def _sentence(event: LogEvent) -> str:
    return _PLACE.sub(r"{\1}", event.text)


_METRICS_HEAD = """\
# Metrics

Made by `python -m serve_app.telemetry.documents metrics` from the metrics that each package declares; names and
labels stay as they are. Ray's own agents show them as `ray_musicgen_…`, one series for each process; `GET /metrics` shows
those of all nodes as `musicgen_…`, one series for each node (label `node`), which so keeps its counters when another
node goes. `prometheus.yaml` makes both look alike.

- What a process counts is shown within ten seconds, and stays when the process ends, until its node does.
- A gauge that is not told for twenty seconds is gone: its process has ended, or is held up.
- `across`: how the figures of several processes become one. Of a gauge with `max` each tells the same thing.
- A histogram's `_sum` is what Ray makes of it, from the middles of the buckets: take quantiles, not means.

## Labels

"""


def metrics_document() -> str:
    """The whole page."""
    return "".join((_METRICS_HEAD, *_labels(), "\n## All of them\n\n", *_rows(), "\n## Buckets\n\n", *_buckets()))


def _labels() -> Iterator[str]:
    yield "| label | values |\n|---|---|\n"
    for label, values in METRIC_LABELS.items():
        yield f"| `{label}` | {_cell(values)} |\n"


def _rows() -> Iterator[str]:
    yield "| metric | kind | unit | labels | across | what |\n|---|---|---|---|---|---|\n"
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        cells = (f"`{metric.name}`", metric.kind, metric.unit, labels, metric.across, metric.help)
        yield "| " + " | ".join(map(_cell, cells)) + " |\n"


def _buckets() -> Iterator[str]:
    for metric in METRICS:
        if metric.buckets:
            yield f"- `{metric.name}`: {', '.join(f'{bound:g}' for bound in metric.buckets)}\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print({"logs": log_document, "metrics": metrics_document}[sys.argv[1]](), end="")
