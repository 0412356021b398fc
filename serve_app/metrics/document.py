"""`python -m serve_app.metrics.document` prints monitoring/METRICS.md, which a test compares with the list."""

from __future__ import annotations

from collections.abc import Iterator

from deployments.metrics import catalogue
from deployments.metrics.catalogue import METRICS

_HEAD = """\
# Metrics

Made by `python -m serve_app.metrics.document` from `deployments/metrics/catalogue.py`, the one list; names and labels
stay as they are. Ray's own agents show them as `ray_musicgen_…`, one series for each process; `GET /metrics` shows
those of all nodes as `musicgen_…`, one series for each node (label `node`), which so keeps its counters when another
node goes. `prometheus.yaml` makes both look alike.

- What a process counts is shown within ten seconds, and stays when the process ends, until its node does.
- A gauge that is not told for twenty seconds is gone: its process has ended, or is held up.
- `across`: how the figures of several processes become one. Of a gauge with `max` each tells the same thing.
- A histogram's `_sum` is what Ray makes of it, from the middles of the buckets: take quantiles, not means.

## Labels

"""


def document() -> str:
    """The whole page."""
    return "".join((_HEAD, *_labels(), "\n## All of them\n\n", *_rows(), "\n## Buckets\n\n", *_buckets()))


def _labels() -> Iterator[str]:
    assert catalogue.__doc__ is not None
    yield "| label | values |\n|---|---|\n"
    for line in catalogue.__doc__.splitlines():
        if line.startswith("    "):
            name, values = line.split(maxsplit=1)
            yield f"| `{name}` | {_cell(values)} |\n"


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
    print(document(), end="")
