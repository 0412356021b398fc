"""What users ask for."""

from __future__ import annotations

from collections import Counter

import pytest

from loadtests.load.clip_requests import NUM_POPULAR, ClipRequests, popular_prompt, zipf_weights


def requests(user: str = "compose 1", seed: int = 0) -> ClipRequests:
    return ClipRequests(seed, user, (1000, 2000, 4000))


def test_the_same_seed_asks_for_the_same_in_the_same_order_and_another_one_does_not() -> None:
    def drawn(each: ClipRequests) -> list[object]:
        return [each.unique() if i % 2 else each.popular() for i in range(20)]

    assert drawn(requests()) == drawn(requests())
    assert drawn(requests()) != drawn(requests(seed=1))


def test_no_two_unique_prompts_are_alike_among_users_either() -> None:
    prompts = [each.unique().prompt for each in (requests("compose 1"), requests("stream 1")) for _ in range(200)]
    assert len(set(prompts)) == 400


def test_popular_prompts_are_distinct_and_come_as_often_as_zipf_says() -> None:
    assert len({popular_prompt(rank) for rank in range(NUM_POPULAR)}) == NUM_POPULAR
    user, num = requests("repeat 1"), 20_000
    counts = Counter(user.popular().prompt for _ in range(num))
    total = sum(1 / n for n in range(1, NUM_POPULAR + 1))
    assert list(zipf_weights()) == [pytest.approx(1 / n) for n in range(1, NUM_POPULAR + 1)]
    for rank in (0, 1, 3, 9):
        assert counts[popular_prompt(rank)] / num == pytest.approx(1 / (rank + 1) / total, rel=0.15)


def test_what_is_popular_may_come_from_the_cache_and_what_is_unique_is_made_in_any_case() -> None:
    assert {requests().unique().body["cache"], requests().popular().body["cache"]} == {"refresh", "use"}
    assert {requests().popular().seed for _ in range(3)} == {requests().popular().seed}
