"""The lists of events: each is told somewhere with its own values, and nothing is logged beside them."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray._common.logging_constants import LOGGER_FLATTEN_KEYS, LOGRECORD_STANDARD_ATTRS, LogKey
from ray.serve._private import constants as serve

from deployments.telemetry.log_event import LogEvent, Value
from loadtests.demo import killing
from serve_app.pipeline.generation_metrics import GENERATION_LEASE_LOST, WORKER_LOST
from serve_app.spot import watcher_log as spot
from serve_app.telemetry import catalogue
from serve_app.telemetry.catalogue import EVENT_FIELDS, EVENTS
from tests.deployments.telemetry.calls import found_calls

ALL = [*EVENTS, *spot.EVENTS]
NAMED = {name: value for each in (catalogue, spot) for name, value in vars(each).items() if isinstance(value, LogEvent)}
# Serve puts them into records too; an event's own stay (see `deployments.telemetry.log_event`).
SHARED = {serve.SERVE_LOG_REQUEST_ID, serve.SERVE_LOG_ROUTE}
RESERVED = {
    *LOGRECORD_STANDARD_ATTRS,
    *LOGGER_FLATTEN_KEYS,
    *(key.value for key in LogKey),
    *serve.SERVE_LOG_UNWANTED_ATTRS,
    *(value for name, value in vars(serve).items() if name.startswith("SERVE_LOG_") and isinstance(value, str)),
    "log_to_stderr",
    "event",
} - SHARED


def some(event: LogEvent) -> dict[str, Value]:
    """A value for each of its fields."""
    kinds = dict(re.findall(r"%\((\w+)\)[.\d]*([a-z])", event.text))
    return {name: 7 if kinds.get(name, "s") in "dfg" else f"a{name}" for name in event.fields}


def calls(project_root: Path) -> Iterator[tuple[str, ast.Call]]:
    for package in ("serve_app", "deployments"):
        for path in (project_root / package).rglob("*.py"):
            yield from ((str(path), call) for call in found_calls(path.read_text()).tellings)


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.name)
class TestEveryEvent:
    def test_has_a_sentence_for_people_and_a_meaning_for_those_at_night(self, event: LogEvent) -> None:
        sentence, said = event.said(some(event))
        assert "%" not in sentence
        assert event.meaning.endswith(".")
        assert set(said) == set(event.fields)
        assert re.fullmatch("[a-z_]+", event.name)
        assert event.level in (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)

    def test_has_no_field_that_logging_ray_or_serve_has_already(self, event: LogEvent) -> None:
        assert not RESERVED & set(event.fields)

    def test_has_fields_that_are_explained(self, event: LogEvent) -> None:
        assert set(event.fields) <= EVENT_FIELDS.keys() | spot.FIELDS.keys()


def test_no_field_is_explained_that_no_event_has() -> None:
    for explained, events, beside in ((EVENT_FIELDS, EVENTS, set()), (spot.FIELDS, spot.EVENTS, {"notice", "said"})):
        assert explained.keys() == beside | {field for event in events for field in event.fields}


def test_no_two_events_have_one_name() -> None:
    names = [event.name for event in ALL]
    assert len(set(names)) == len(names) == len(NAMED)


def test_every_event_is_told_somewhere_and_with_its_own_values(project_root: Path) -> None:
    told = set()
    for where, call in calls(project_root):
        name = found_event(call)
        assert name in NAMED, f"{where}:{call.lineno}: {name} is in no list"
        given = {keyword.arg for keyword in call.keywords}
        assert given == set(NAMED[name].fields), f"{where}:{call.lineno}: {name}"
        told.add(name)
    assert set(NAMED) - told == set()


def found_event(call: ast.Call) -> str:
    """`EVENT.tell(log, ...)`, or of a watcher's log `events.tell(EVENT, ...)`."""
    assert isinstance(call.func, ast.Attribute)
    words = [call.func.value, *call.args]
    return next((each.id for each in words if isinstance(each, ast.Name) and each.id.isupper()), "")


def test_every_event_that_a_package_declares_is_collected(project_root: Path) -> None:
    declared = {
        node.targets[0].id
        for package in ("serve_app", "deployments")
        for path in (project_root / package).rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "LogEvent"
    }
    assert declared == set(NAMED)


def test_nothing_is_logged_beside_the_lists(project_root: Path) -> None:
    for package in ("serve_app", "deployments"):
        for path in (project_root / package).rglob("*.py"):
            if path != project_root / "deployments" / "telemetry" / "log_event.py":
                assert found_calls(path.read_text()).beside == [], path


@pytest.mark.parametrize(
    "source",
    [
        "_log.warning('x')",
        "self._log.info('x')",
        "logger.log(3, 'x')",
        "logging.error('x')",
        "logging.getLogger('x').exception('x')",
        "_log.handle(record)",
        "import logging\nours = logging.getLogger('ray.serve.x')",
        "from logging import getLogger",
        "import warnings\nwarnings.warn('x')",
    ],
)
def test_what_goes_around_the_lists_is_noticed(source: str) -> None:
    assert found_calls(source).beside


@pytest.mark.parametrize(
    "source",
    [
        "import logging\n_log = logging.getLogger('ray.serve.x')\nREQUEST.tell(_log)",
        "math.log(2)",
        "task.exception()",
        "import logging\nlogging.getLogger('accelerate').setLevel(logging.ERROR)",
    ],
)
def test_what_does_not_is_left_alone(source: str) -> None:
    assert found_calls(source).beside == []


def test_every_logger_is_below_serve_s_own_whose_files_it_shares(project_root: Path) -> None:
    for package in ("serve_app", "deployments"):
        for path in (project_root / package).rglob("*.py"):
            for name in found_calls(path.read_text()).loggers:
                assert name.startswith("ray.serve.") or name in ("accelerate", "sqlalchemy.engine.Engine"), path


def test_a_lost_worker_is_found_in_the_log_by_the_demonstration_that_kills_them(tmp_path: Path) -> None:
    sentences = [
        WORKER_LOST.said({"generation": "0123456789abcdef" * 2, "frame": frame, "cause": "RayActorError"})[0]
        for frame in (50, 99)
    ]
    sentences.append(GENERATION_LEASE_LOST.said({"generation": "f" * 32})[0])
    file = tmp_path / "replica_musicgen_pipeline_ab12.log"
    file.write_text("\n".join(sentences))
    service = SimpleNamespace(replica_logs=lambda _: [file])
    assert killing.losses(service) == {"0123456789abcdef": [50, 99]}
