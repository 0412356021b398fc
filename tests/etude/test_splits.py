from __future__ import annotations

from itertools import combinations

import pytest

from etude.splits import SPLITS, split_of


def test_no_seed_is_in_two_splits() -> None:
    for one, other in combinations(SPLITS.values(), 2):
        assert one[-1] < other.start or other[-1] < one.start


@pytest.mark.parametrize("name", SPLITS)
def test_seeds_belong_to_the_split_they_are_in(name: str) -> None:
    members = SPLITS[name]
    assert split_of(members) == split_of(members[:1]) == split_of(members[-32:]) == name


def test_seeds_across_a_border_belong_to_none() -> None:
    border = SPLITS["validation"].start
    with pytest.raises(ValueError, match="not within one split"):
        split_of(range(border - 1, border + 1))
    with pytest.raises(ValueError, match="not within one split"):
        split_of(range(-1, 1))
