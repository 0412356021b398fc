from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.client import MAX_LINE_BYTES, ServerSentEvent, events_of

STREAM = (
    "retry: 2000\n\n: \n\nid: 3\nevent: running\ndata: {}\n\n: \n\n"
    "id: 4\r\nevent: progress\r\ndata: a\r\ndata:b\u2028\x85c\r\n\r\nid: 5\ndata: cut"
).encode()
EVENTS = [ServerSentEvent("3", "running", "{}"), ServerSentEvent("4", "progress", "a\nb\u2028\x85c")]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_events_are_the_same_in_whatever_pieces_they_come(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[first:end] for first, end in itertools.pairwise(ends)]
    assert list(events_of(pieces)) == EVENTS


def test_an_id_stands_until_the_next() -> None:
    assert list(events_of([b"id: 1\ndata: a\n\ndata: b\n\n"])) == [
        ServerSentEvent("1", "message", "a"),
        ServerSentEvent("1", "message", "b"),
    ]


@pytest.mark.parametrize("pieces", [[b"data: \xff\n\n"], [b"a" * 2**16] * (MAX_LINE_BYTES // 2**16 + 1)])
def test_what_is_no_stream_of_events_is_an_error(pieces: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r"utf-8|too long"):
        list(events_of(pieces))
