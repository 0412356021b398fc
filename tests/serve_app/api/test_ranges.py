"""The part of a file that a client asks for, compared with a reading of the RFC's grammar letter by letter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.api.file_response import requested_range
from serve_app.errors import RangeNotSatisfiable

SIZE = 100


def by_grammar(header: str, size: int) -> list[int] | str | None:
    """The numbers of the bytes, one by one; None for the whole; `none` where there is no such byte."""
    unit, equals, spec = header.partition("=")
    if not equals or unit.lower() != "bytes":
        return None
    first, dash, last = spec.strip(" \t").partition("-")
    digits = set("0123456789")
    if not dash or not digits.issuperset(first) or not digits.issuperset(last) or first == last == "":
        return None
    if first and last and int(last) < int(first):
        return None
    if first:
        wanted = [place for place in range(size) if place >= int(first) and (not last or place <= int(last))]
    else:
        wanted = [place for place in range(size) if size - place <= int(last)]
    return wanted or "none"


def as_numbers(header: str, size: int) -> list[int] | str | None:
    try:
        part = requested_range(header, size)
    except RangeNotSatisfiable as error:
        return "none" if error.headers()["Content-Range"] == f"bytes */{size}" else "another size"
    return None if part is None else list(range(*part))


numbers = st.integers(0, 130).map(str) | st.sampled_from(["", "0", "99", "100", "007", "9" * 20])
headers = st.builds(
    "{}{}{}-{}{}".format,
    st.sampled_from(["bytes=", "Bytes=", "bytes", "items=", "", "bytes=="]),
    st.sampled_from(["", " ", "\t", "x"]),
    numbers,
    numbers,
    st.sampled_from(["", " ", ",", ",0-1", "x", "-"]),
)


@given(headers | st.text(max_size=30), st.integers(1, 120))
def test_a_range_is_what_the_grammar_says(header: str, size: int) -> None:
    assert as_numbers(header, size) == by_grammar(header, size)


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("bytes=0-", (0, 100)),
        ("bytes=0-0", (0, 1)),
        ("bytes=99-", (99, 100)),
        ("bytes=90-200", (90, 100)),
        ("bytes=-1", (99, 100)),
        ("bytes=-200", (0, 100)),
        ("bytes=0-1,5-6", None),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=\uff11-\uff12", None),
        ("seconds=0-1", None),
    ],
)
def test_examples(header: str | None, part: tuple[int, int] | None) -> None:
    assert requested_range(header, SIZE) == part


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999-"])
def test_a_range_without_a_byte_is_refused_with_the_size(header: str) -> None:
    assert as_numbers(header, SIZE) == "none"


@pytest.mark.parametrize(
    "header", ["bytes=" + "0-0," * 100_000, "bytes=" + "9" * 1_000_000 + "-", "bytes=" + " " * 1_000_000 + "0-0"]
)
def test_a_header_of_any_length_is_answered_with_the_whole(header: str) -> None:
    assert requested_range(header, SIZE) is None


def test_the_reference_knows_the_rfc_s_own_examples() -> None:
    assert by_grammar("bytes=0-499", 10_000) == list(range(500))
    assert by_grammar("bytes=-500", 10_000) == list(range(9_500, 10_000))
    assert by_grammar("bytes=9500-", 10_000) == list(range(9_500, 10_000))
