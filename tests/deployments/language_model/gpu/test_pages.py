from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.language_model.gpu.state import PAGE, SPARE, Pages, pages_of


def test_a_generation_takes_whole_pages_for_each_branch_and_its_text() -> None:
    assert pages_of(1, 1, 1) == 2
    assert pages_of(PAGE, 2, PAGE) == 3
    assert pages_of(PAGE + 1, 2, PAGE + 1) == 6


@settings(deadline=None)
@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=40))
def test_taking_and_giving_back_loses_and_shares_no_page(num_pages: int, operations: list[tuple[int, int]]) -> None:
    pages, held = Pages(num_pages), {}
    for slot, number in operations:
        if slot in held:
            pages.give_back(slot)
            del held[slot]
        elif number > num_pages - sum(map(len, held.values())):
            with pytest.raises(MemoryError, match=f"{number} pages are wanted"):
                pages.take(slot, number)
        else:
            held[slot] = pages.take(slot, number)
            assert len(held[slot]) == number
            assert SPARE not in held[slot]
        pages.check_integrity(set(held))
        taken = [page for those in held.values() for page in those]
        assert len(taken) == len(set(taken))


def test_a_slot_has_its_pages_once() -> None:
    pages = Pages(4)
    pages.take(0, 1)
    with pytest.raises(RuntimeError, match="slot 0 has its pages already"):
        pages.take(0, 1)
    with pytest.raises(AssertionError, match=r"slots \{0\}"):
        pages.check_integrity(set())
