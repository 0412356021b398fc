"""The queueing inside a pool: against a closed form, against a slow and obvious reference, and nothing lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.simulation.advance import Floats
from loadtests.simulation.engine import EngineCurve
from loadtests.simulation.replicas import Replicas

CURVE = EngineCurve(0.01, 0.002)


def erlang_c(servers: int, load: float) -> float:
    """The probability to wait in M/M/c, by way of Erlang's B (https://en.wikipedia.org/wiki/Erlang_(unit))."""
    blocked = 1.0
    for each in range(1, servers + 1):
        blocked = load * blocked / (each + load * blocked)
    return servers * blocked / (servers - load * (1 - blocked))


@pytest.mark.parametrize(("servers", "slots", "used"), [(1, 1, 0.5), (4, 1, 0.7), (16, 8, 0.8), (40, 4, 0.85)])
def test_waiting_is_within_3_percent_of_erlangs_formula(servers: int, slots: int, used: float) -> None:
    rng, num = np.random.default_rng(7), 1_000_000
    arrives_s = np.cumsum(rng.exponential(1 / (used * servers), num))
    paces = np.array([0.0] + [1.0] * slots)  # nobody slows a neighbour down: every slot is a server
    replicas = Replicas(arrives_s, rng.exponential(1, num), paces, servers // slots)
    for each in range(servers // slots):
        replicas.open(each)
    replicas.advance(arrives_s[-1])
    waits_s = replicas.waits_s()[num // 100 :]
    probability = erlang_c(servers, used * servers)
    assert np.mean(waits_s > 0) == pytest.approx(probability, rel=0.03)
    assert waits_s.mean() == pytest.approx(probability / (servers * (1 - used)), rel=0.03)


def began_s(arrives_s: Floats, audio_s: Floats, paces: Floats, num_replicas: int) -> list[float]:
    """When each gets its slot, replica by replica and event by event, with nothing kept that could be looked up."""
    held: list[dict[int, float]] = [{} for _ in range(num_replicas)]  # what is left of each
    began, waiting, arrived, now_s = [np.nan] * len(arrives_s), [], 0, 0.0
    while arrived < len(arrives_s) or waiting:
        ends = [min(left.values()) / paces[len(left)] for left in held if left]
        next_s = min([now_s + end for end in ends] + list(arrives_s[arrived : arrived + 1]))
        for left in held:
            for each in list(left):
                left[each] -= (next_s - now_s) * paces[len(left)]
        held = [{each: left for each, left in them.items() if left > 1e-9} for them in held]
        now_s = next_s
        if arrived < len(arrives_s) and arrives_s[arrived] <= now_s:
            waiting.append(arrived)
            arrived += 1
        while waiting and min(map(len, held)) < len(paces) - 1:
            first = waiting.pop(0)
            min(held, key=len)[first] = audio_s[first]
            began[first] = now_s
    return began


@pytest.mark.parametrize("seed", range(4))
def test_everybody_gets_a_slot_when_the_slow_reference_says(seed: int) -> None:
    rng, paces = np.random.default_rng(seed), CURVE.paces(3)
    audio_s = rng.uniform(1, 30, 300)
    arrives_s = np.cumsum(rng.exponential(15 / (2 * CURVE.audio_s_per_s(3)), 300))
    replicas = Replicas(arrives_s, audio_s, paces, 2)
    for each in range(2):
        replicas.open(each)
    replicas.advance(2 * arrives_s[-1])
    waits_s = np.array(began_s(arrives_s, audio_s, paces, 2)) - arrives_s
    assert np.mean(waits_s > 0) > 0.2
    np.testing.assert_allclose(replicas.waits_s(), waits_s, atol=1e-6)


def test_a_generation_alone_is_made_at_its_pace_and_slows_when_it_gets_company() -> None:
    paces = np.array([0.0, 2.0, 1.0])
    replicas = Replicas(np.array([0.0, 1.0]), np.array([4.0, 4.0]), paces, 1)
    replicas.open(0)
    replicas.advance(2.999)  # 2 s alone in the first second, 1 a second after it
    assert (replicas.num_ended, replicas.in_use) == (0, 2)
    replicas.advance(3.001)
    assert (replicas.num_ended, replicas.in_use) == (1, 1)
    replicas.advance(4.001)  # the other one made 2 s in company and the rest alone
    assert (replicas.num_ended, replicas.in_use) == (2, 0)


def test_who_lost_a_slot_goes_first_and_makes_its_last_window_again() -> None:
    paces = np.array([0.0, 1.0])
    replicas = Replicas(np.array([0.0, 0.1]), np.array([4.0, 1.0]), paces, 2)
    replicas.open(0)
    replicas.advance(2.5)
    replicas.empty(0, window_s=1)
    assert (replicas.waiting, replicas.in_use, replicas.num_moved) == (2, 0, 1)
    assert replicas.lost_audio_s == pytest.approx(0.5)
    replicas.open(1)
    replicas.advance(4.4)
    assert replicas.num_ended == 0
    replicas.advance(4.6)
    assert (replicas.num_ended, replicas.ended_audio_s, replicas.in_use) == (1, 4, 1)


actions = st.lists(st.tuples(st.sampled_from(["open", "close", "empty"]), st.integers(0, 3)), max_size=40)


@given(st.integers(0, 2**32), actions)
def test_all_that_arrives_ends_or_waits_or_is_being_made_whatever_happens_to_replicas(
    seed: int, happens: list[tuple[str, int]]
) -> None:
    rng = np.random.default_rng(seed)
    arrives_s, audio_s = np.sort(rng.uniform(0, 60, 200)), rng.uniform(0.5, 30, 200)
    replicas = Replicas(arrives_s, audio_s, CURVE.paces(4), 4)
    for what, which in happens:
        if what == "open":
            replicas.open(which)
        elif what == "close":
            replicas.close(which)
        else:
            replicas.empty(which, window_s=1)
        replicas.advance(replicas.now_s + rng.exponential(2))
        arrived = replicas.num_arrived
        assert arrived == replicas.num_ended + replicas.in_use + replicas.waiting == np.sum(arrives_s <= replicas.now_s)
        made_s = replicas.sums().made_audio_s
        assert audio_s[:arrived].sum() + replicas.lost_audio_s == pytest.approx(made_s + replicas.unmade_audio_s())
        assert 0 <= replicas.lost_audio_s <= replicas.num_moved
        assert replicas.in_use == (replicas.state.holds >= 0).sum() == replicas.state.used.sum()


def test_arrivals_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="in order"):
        Replicas(np.array([1.0, 0.0]), np.ones(2), CURVE.paces(1), 1)
