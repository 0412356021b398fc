"""monitoring/LOGS.md and monitoring/METRICS.md, from the log events and metrics that each package declares."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence

from deployments.telemetry.log_event import LogEvent
from docs.generate.markdown import table
from serve_app.spot import watcher_log as spot
from serve_app.telemetry.catalogue import EVENT_FIELDS, EVENTS, METRIC_LABELS, METRICS

_LOG_HEAD = """\
# Logs

Made by `python -m docs.generate` from the events that each package declares. Names and fields of events are stable:
programs may rely on them.

With `logging_config: {encoding: JSON}` in the deploy file, each line of a replica's log is one JSON object, whatever a
client sent. The files are `replica_*.log` in `serve/` of each node's log folder, `/tmp/ray/session_latest/logs`. A line
has `event` and that event's fields, listed below, and

| key | what |
|---|---|
| `levelname` | CRITICAL, ERROR: somebody has to look; WARNING: it failed, and the service went on; INFO: all is well |
| `message` | the event as a sentence; its wording may change, so search for `event` |
| `exc_text` | of an event with an error: its traceback, each line behind a bar |
| `timestamp_ns`, `asctime` | when: since 1970, and in the node's own time |
| `application`, `deployment`, `replica` | where it was logged |
| `node_id`, `actor_id`, `worker_id`, `process` | the same, as Ray names it |
| `filename`, `lineno` | where in the code |
| `request_id`, `route` | also of events without them, where Serve knows the request at hand |

A line without `event` is one of Serve's own. In a text the characters that break a line, control a terminal or change the
direction of writing are escaped (`\\n`, `\\x1b`, `\\u202e`), and a long text has lost its middle.

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

# The log of the spot watcher

One JSON object a line, on the standard error of `musicgen node`, with the same keys for level, message and time
(`asctime` is in UTC).
"""

_PLACEHOLDER = re.compile(r"%\((\w+)\)[.\d]*[a-z]")


def log_document() -> str:
    """The page of log events."""
    return "".join((_LOG_HEAD, *_events(EVENT_FIELDS, EVENTS), _SPOT_HEAD, *_events(spot.FIELDS, spot.EVENTS)))


def _events(explained: Mapping[str, str], events: Sequence[LogEvent]) -> Iterator[str]:
    yield "\n## Events\n\n"
    yield table(("event", "level", "fields", "what it means", "message"), map(_event_row, events))
    yield "\n## Fields\n\n"
    yield table(("field", "values"), ((f"`{name}`", values) for name, values in explained.items()))


def _event_row(event: LogEvent) -> Sequence[str]:
    fields = ", ".join(f"`{field}`" for field in event.fields)
    sentence = _PLACEHOLDER.sub(r"{\1}", event.text)
    return f"`{event.name}`", logging.getLevelName(event.level), fields, event.meaning, f"`{sentence}`"


_METRICS_HEAD = """\
# Metrics

Made by `python -m docs.generate` from the metrics that each package declares. Names and labels are stable. Ray's own
agents show them as `ray_musicgen_…`, one series for each process. `GET /metrics` shows those of all nodes as `musicgen_…`,
one series for each node (label `node`); so a node keeps its counters when another one goes. `prometheus.yaml` makes both
look alike.

- What a process counts is shown within ten seconds, and stays when the process ends, until its node does.
- A gauge that is not reported for twenty seconds is gone: its process has ended, or is held up.
- `across`: how the figures of several processes become one. With `max`, each process reports the same thing.
- A histogram's `_sum` is what Ray makes of it, from the middles of the buckets: take quantiles, not means.

## Labels

"""


def metrics_document() -> str:
    """The page of metrics."""
    labels = table(("label", "values"), ((f"`{name}`", values) for name, values in METRIC_LABELS.items()))
    metrics = table(("metric", "kind", "unit", "labels", "across", "what"), _metric_rows())
    return "".join((_METRICS_HEAD, labels, "\n## All metrics\n\n", metrics, "\n## Buckets\n\n", *_buckets()))


def _metric_rows() -> Iterator[Sequence[str]]:
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        yield f"`{metric.name}`", metric.kind, metric.unit, labels, metric.across, metric.help


def _buckets() -> Iterator[str]:
    for metric in METRICS:
        if metric.buckets:
            yield f"- `{metric.name}`: {', '.join(f'{bound:g}' for bound in metric.buckets)}\n"
