"""One event is one line of Serve's log: an object with its name and values in JSON, a sentence as text."""

from __future__ import annotations

import contextvars
import logging
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.serve import context

from deployments.telemetry.log_event import BAR, LogEvent, Value
from tests.deployments.telemetry.serve_log import LOG, ServeLog
from tests.deployments.telemetry.test_plain_text import raised
from tests.deployments.telemetry.texts import FORGED, NASTY, texts

EVENT = LogEvent(
    "thing_happened", logging.WARNING, "%(thing)s happened %(times)d times", "It did.", more=("request_id", "route")
)


def tell(thing: str = "it", times: int = 3, request_id: Value = None, route: Value = None) -> None:
    EVENT.tell(LOG, thing=thing, times=times, request_id=request_id, route=route)


def within_a_request(call: Callable[[], None], request_id: str = "serve's", route: str = "/mount/path") -> None:
    """As in a replica that has taken the request on."""

    def called() -> None:
        context._serve_request_context.set(
            context._RequestContext(route=route, request_id=request_id, app_name="musicgen")
        )
        call()

    contextvars.Context().run(called)


def test_in_json_a_line_has_the_event_and_its_values(json_log: ServeLog) -> None:
    tell("a kick", 2, request_id="abc", route="/v1/music")
    line = json_log.line()
    said = {"event": "thing_happened", "thing": "a kick", "times": 2, "request_id": "abc", "route": "/v1/music"}
    assert line.items() >= said.items()
    assert (line["levelname"], line["message"]) == ("WARNING", "a kick happened 2 times")
    assert line["deployment"] == "musicgen_ingress"
    assert line["replica"] == "ab12"


def test_as_text_a_line_has_the_sentence(text_log: ServeLog) -> None:
    tell("a kick", 2)
    assert text_log.new().endswith("musicgen_ingress ab12 None -- a kick happened 2 times\n")


@given(texts, texts)
def test_whatever_is_told_is_one_object_on_one_line(json_log: ServeLog, thing: str, request_id: str) -> None:
    tell(thing, request_id=request_id)
    assert json_log.line()["event"] == "thing_happened"


@given(texts, st.sampled_from([ValueError, KeyError, UnicodeError]))
def test_an_error_with_a_client_s_text_is_on_the_event_s_line(
    json_log: ServeLog, text: str, kind: type[Exception]
) -> None:
    EVENT.tell(LOG, raised(kind(text), ValueError(text)), thing="it", times=1, request_id=None, route=None)
    line = json_log.line()
    assert line["event"] == "thing_happened"
    assert kind.__name__ in line["exc_text"]


@pytest.mark.parametrize("nasty", NASTY, ids=ascii)
def test_as_text_nothing_that_is_told_begins_a_line(text_log: ServeLog, nasty: str) -> None:
    forged = f"it{nasty}{FORGED}"
    EVENT.tell(LOG, raised(ValueError(forged)), thing=forged, times=1, request_id=forged, route=forged)
    first, *rest = text_log.new().splitlines()
    assert first.startswith("WARNING ")
    assert rest
    assert all(line.startswith(BAR) for line in rest)


def test_its_values_stand_where_serve_would_put_those_of_the_request_at_hand(json_log: ServeLog) -> None:
    within_a_request(lambda: tell(request_id="ours", route="/path"))
    line = json_log.line()
    assert (line["request_id"], line["route"], line["application"]) == ("ours", "/path", "musicgen")


def test_what_it_does_not_know_serve_may_fill_in(json_log: ServeLog) -> None:
    within_a_request(tell)
    line = json_log.line()
    assert (line["request_id"], line["route"]) == ("serve's", "/mount/path")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_has_no_number_for_is_told_in_words(json_log: ServeLog, value: float) -> None:
    tell(request_id=value)
    assert json_log.line()["request_id"] == str(value)


def test_a_line_names_the_place_that_told_it(json_log: ServeLog) -> None:
    tell()
    line = json_log.line()
    assert line["filename"] == "test_event.py"
    assert line["lineno"] == tell.__code__.co_firstlineno + 1


def test_below_the_logger_s_level_nothing_is_written(json_log: ServeLog) -> None:
    LOG.setLevel(logging.ERROR)
    try:
        tell()
    finally:
        LOG.setLevel(logging.NOTSET)
    assert json_log.new() == ""


@pytest.mark.parametrize("values", [{}, {"thing": "it"}, {"thing": "it", "times": 1, "prompt": "no"}])
def test_other_values_than_the_event_s_own_are_refused(values: dict[str, Value]) -> None:
    event = LogEvent("event", logging.INFO, "%(thing)s %(times)d", "")
    with pytest.raises(ValueError, match="event has the fields thing, times, not"):
        event.tell(LOG, **values)


def test_a_field_under_which_a_record_has_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="other things under lineno, process"):
        LogEvent("event", logging.WARNING, "%(process)s %(lineno)s", "").tell(LOG, process=1, lineno=2)
