from __future__ import annotations

from serve_app.spot import watcher_log as spot
from serve_app.telemetry.catalogue import EVENTS
from serve_app.telemetry.documents import log_document as document
from tests.monitoring.files import FOLDER


def test_the_page_is_that_of_the_lists() -> None:
    made = "it is not what `python -m serve_app.telemetry.documents logs > monitoring/LOGS.md` makes"
    assert (FOLDER / "LOGS.md").read_text() == document(), made


def test_every_event_has_a_row_with_its_fields() -> None:
    rows = [line.split(" | ") for line in document().splitlines() if line.startswith("| `")]
    for event in (*EVENTS, *spot.EVENTS):
        (row,) = (row for row in rows if row[0] == f"| `{event.name}`" and len(row) == 5)
        assert row[2] == ", ".join(f"`{field}`" for field in event.fields)
        assert row[3] == event.meaning
