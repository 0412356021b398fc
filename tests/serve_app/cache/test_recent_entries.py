"""What is held in memory is bounded, and the last used stays."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serve_app.cache.cache import RecentEntries
from serve_app.cache.entry import CachedCodes
from tests.serve_app.cache.cached import key

LIMIT = 20_000


def kept(num_frames: int) -> CachedCodes:
    return CachedCodes(np.zeros((4, num_frames), np.int16), "", 0.0)


@given(st.lists(st.tuples(st.sampled_from(["get", "put", "drop"]), st.integers(0, 30), st.integers(0, 400))))
def test_it_holds_the_last_used_and_never_more_than_its_limit(doings: list[tuple[str, int, int]]) -> None:
    recent = RecentEntries(LIMIT)
    order: dict[int, CachedCodes] = {}
    for what, number, frames in doings:
        if what == "get":
            got = recent.get(key(number))
            assert got is order.get(number)
            if got is not None:
                order[number] = order.pop(number)
        else:
            order.pop(number, None)
            recent.drop(key(number))
        if what == "put":
            recent.put(key(number), kept(frames))
            order[number] = kept_again = recent.get(key(number))  # type: ignore[assignment]
            if kept_again is None:
                del order[number]
                assert 512 + 8 * frames > LIMIT / 8
            while sum(512 + each.codes.nbytes for each in order.values()) > LIMIT:
                del order[next(iter(order))]
        recent.check_integrity()
    assert [number for number in range(31) if recent.get(key(number))] == sorted(order)


def test_the_one_used_longest_ago_goes_first_and_one_too_large_is_not_held() -> None:
    recent = RecentEntries(LIMIT)
    for number in range(10):
        recent.put(key(number), kept(180))
    assert recent.get(key(0))
    for number in range(10, 12):
        recent.put(key(number), kept(180))
    assert [number for number in range(12) if recent.get(key(number)) is None] == [1, 2]
    recent.put(key(20), kept(400))
    assert recent.get(key(20)) is None
    recent.check_integrity()


def test_none_is_held_where_there_is_no_room() -> None:
    recent = RecentEntries(0)
    recent.put(key(1), kept(1))
    assert recent.get(key(1)) is None
