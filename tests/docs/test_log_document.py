from __future__ import annotations

from docs.generate import COMMAND
from docs.generate.monitoring_pages import log_document as document
from serve_app.spot import watcher_log as spot
from serve_app.telemetry.catalogue import EVENTS
from tests.monitoring.files import FOLDER


def test_the_page_is_that_of_the_lists() -> None:
    made = f"it is not what `{COMMAND}` makes"
    assert (FOLDER / "LOGS.md").read_text() == document(), made


def test_every_event_has_a_row_with_its_fields() -> None:
    rows = [line.split(" | ") for line in document().splitlines() if line.startswith("| `")]
    for event in (*EVENTS, *spot.EVENTS):
        (row,) = (row for row in rows if row[0] == f"| `{event.name}`" and len(row) == 5)
        assert row[2] == ", ".join(f"`{field}`" for field in event.fields)
        assert row[3] == event.meaning
