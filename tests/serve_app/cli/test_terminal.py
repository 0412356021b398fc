"""A run says what it is doing: on a terminal in place, elsewhere line by line."""

from __future__ import annotations

import io
import re

from serve_app.cli.terminal import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def said(stream: io.StringIO) -> list[str]:
    """What stays to be read on each line, without the time."""
    with Progress(stream) as progress:
        progress.step("starting")
        progress.step("starting")
        progress.step("loading")
        progress.line("ready")
        progress.step("stopping")
    return [re.sub(r"^.*\[ *\d+\.\d s\] ", "", line) for line in stream.getvalue().split("\n")]


def test_each_step_is_a_line_with_its_time() -> None:
    stream = io.StringIO()
    assert said(stream) == ["starting", "loading", "ready", "stopping", ""]
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_a_terminal_shows_the_same_and_counts_in_place() -> None:
    stream = Terminal()
    assert said(stream) == ["starting", "loading", "ready", "stopping", ""]
    assert "\r\x1b[K" in stream.getvalue()


def test_how_far_a_step_has_come_takes_the_place_of_its_text_and_no_line_of_its_own() -> None:
    for stream, seen in ((io.StringIO(), ["making", ""]), (Terminal(), ["all of it made", ""])):
        with Progress(stream) as progress:
            progress.step("making")
            progress.update("half of it made")
            progress.update("all of it made")
        assert [re.sub(r"^.*\[ *\d+\.\d s\] ", "", line) for line in stream.getvalue().split("\n")] == seen
