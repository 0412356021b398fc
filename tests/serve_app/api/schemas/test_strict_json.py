from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.api.schemas.parsing import parse_json
from serve_app.errors import InvalidRequest, MalformedRequest, ServiceError

documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


@given(documents)
def test_what_json_writes_is_read_back(document: object) -> None:
    assert parse_json(json.dumps(document).encode()) == document
    assert parse_json(json.dumps(document, ensure_ascii=False).encode()) == document


@given(st.binary())
def test_bytes_are_read_as_the_standard_reader_reads_them_or_refused(body: bytes) -> None:
    try:
        document = parse_json(body)
    except ServiceError:
        return
    assert repr(document) == repr(json.loads(body.decode("utf-8")))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "no body"),
        (b" \r\n\t", "no body"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a": "\xff"}', "byte 7"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b"{", "line 1, column 2"),
        (b"prompt=x", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b'{"a": 1} {}', "Extra data"),
        (b'{"a": 01}', "not JSON"),
        (b'{"a": "\n"}', "not JSON"),
        (b'{"a": "\\x"}', "not JSON"),
        (b"[" * 65_000, "nested too deeply"),
        (b'{"":' * 16_000, "nested too deeply"),
    ],
)
def test_what_is_not_json_is_malformed_and_says_where(body: bytes, message: str) -> None:
    with pytest.raises(MalformedRequest, match=message):
        parse_json(body)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"seed": 1, "seed": 1}', "seed"),
        (b'{"a": [{"b": 1, "c": 2, "b": 3}]}', "b"),
        (b'{"a\\n": 1, "a\\u000a": 2}', None),
    ],
)
def test_a_key_twice_in_one_object_is_invalid_at_any_depth(body: bytes, param: str | None) -> None:
    with pytest.raises(InvalidRequest, match="twice") as caught:
        parse_json(body)
    assert caught.value.param == param


def test_the_same_key_in_two_objects_is_fine() -> None:
    assert parse_json(b'[{"a": 1}, {"a": 2}]') == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5_000, "-" + "9" * 5_000])
def test_numbers_beyond_reason_are_floats_that_no_field_takes(number: str) -> None:
    value = parse_json(number.encode())
    assert isinstance(value, float)
    assert not math.isfinite(value)


def test_integers_are_exact_beyond_64_bits() -> None:
    assert parse_json(str(2**64 + 1).encode()) == 2**64 + 1
    assert parse_json(b"1" * 40) == int("1" * 40)
