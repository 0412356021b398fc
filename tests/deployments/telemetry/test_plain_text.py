from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deployments.telemetry.log_event import BAR, MAX_CHARS, MAX_TRACEBACK_LINES, plain, plain_traceback
from tests.deployments.telemetry.texts import FORGED, NASTY, texts


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """It, with a traceback."""
    try:
        raise error from cause
    except BaseException as caught:  # noqa: BLE001 - it is the value
        return caught


@given(texts)
@example("".join(NASTY))
def test_any_text_is_one_line_that_is_shown_as_it_stands(text: str) -> None:
    line = plain(text)
    assert len(line.splitlines()) == (1 if text else 0)
    assert not any(unicodedata.category(each) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for each in line)
    assert line.encode("utf-8").decode("utf-8") == line


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=MAX_CHARS))
def test_a_harmless_text_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


@pytest.mark.parametrize("nasty", NASTY, ids=ascii)
def test_what_is_nasty_is_named_in_ascii(nasty: str) -> None:
    escaped = plain(f"a{nasty}b")
    assert escaped.isascii()
    assert escaped.isprintable()
    assert (escaped[0], escaped[-1]) == ("a", "b")
    assert "\\" in escaped


def test_of_a_long_text_the_beginning_and_the_end_are_told() -> None:
    text = plain(f"begin{'x' * 100_000}end")
    assert text.startswith("beginx")
    assert text.endswith("xend")
    assert "…99508 characters…" in text
    assert len(text) < MAX_CHARS + 40


@given(texts, texts)
def test_no_line_of_a_traceback_can_pass_for_one_of_the_log(message: str, cause: str) -> None:
    lines = plain_traceback(raised(ValueError(message), KeyError(cause))).splitlines()
    assert all(line.startswith(BAR) for line in lines)
    assert not any(line.startswith(FORGED) for line in lines)
    assert lines[0] == f"{BAR}Traceback (most recent call last):" or "KeyError" in lines[0]


def test_a_traceback_says_what_failed_where_and_from_what() -> None:
    text = plain_traceback(raised(ValueError("wrong"), KeyError("missing")))
    assert "ValueError: wrong" in text
    assert "KeyError: 'missing'" in text
    assert f'File "{__file__}"' in text


def test_of_a_long_traceback_the_middle_is_left_out() -> None:
    lines = plain_traceback(ValueError("\n".join(f"line {i}" for i in range(100_000)))).splitlines()
    assert len(lines) == MAX_TRACEBACK_LINES + 1
    assert lines[-1] == f"{BAR}line 99999"


def test_an_error_that_can_not_be_read_is_told_all_the_same() -> None:
    class Unreadable(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    assert "Unreadable" in plain_traceback(Unreadable())
