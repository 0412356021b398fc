"""Enough replicas for what waits, none for nothing, and the same answer to the same load."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.serve.autoscaling_policy import _apply_delay_logic

from serve_app.scaling.policy import (
    SPARE,
    PoolLoad,
    Targets,
    busy_replicas,
    desired_followers,
    desired_replicas,
    expected_audio_s_per_s,
)

REALTIME, BATCH = Targets(0.7, 1), Targets(1, 300)
amounts = st.floats(0, 10_000)
targets = st.builds(Targets, st.floats(0.1, 1), st.floats(0.5, 3600))
loads = st.builds(
    PoolLoad,
    replicas=st.integers(0, 500),
    target=st.integers(0, 500),
    slots=st.integers(1, 64),
    in_use=amounts,
    waiting=amounts,
    waiting_audio_s=amounts,
    made_audio_s_per_s=st.none() | amounts,
    audio_s_per_s=st.none() | st.floats(0.1, 1000),
)


def enough(replicas: int, load: PoolLoad, aim: Targets) -> bool:
    """Whether so many replicas would hold the load as the policy's docstring says."""
    slots, speed = (aim.load * each * replicas for each in (load.slots, load.audio_s_per_s or load.slots))
    made = min(load.made_audio_s_per_s or 0, (load.audio_s_per_s or 0) * load.replicas)
    holds = load.in_use <= slots and made <= speed
    return holds and (load.in_use + load.waiting <= slots or load.waiting_audio_s <= speed * aim.wait_s)


def pool(needed: float, replicas: int, *, fixed_s: float, each_s: float, slots: int) -> PoolLoad:
    """The steady state of so many engines, of which `needed` full ones would just do. A step of b generations takes
    fixed_s + b · each_s.
    """
    full = slots / (fixed_s + slots * each_s) / 50
    made = needed * full / replicas
    in_use = 50 * made * fixed_s / (1 - 50 * made * each_s)  # b, of made = b / (fixed_s + b · each_s) / 50
    return PoolLoad(replicas, replicas, slots, replicas * in_use, 0, 0, needed * full, full)


@given(loads, targets)
def test_it_takes_the_fewest_replicas_that_are_enough(load: PoolLoad, aim: Targets) -> None:
    desired = desired_replicas(replace(load, target=0), aim)
    if load.idle:
        assert desired == 0
        return
    slack = 1e-5  # counts are rounded to a millionth of a replica
    assert enough(desired, load, replace(aim, load=min(1, aim.load * (1 + slack)))) or desired >= 1 / slack
    assert desired == 1 or not enough(desired - 1, load, replace(aim, load=aim.load * (1 - slack)))


@given(loads, targets, st.sampled_from(["in_use", "waiting", "waiting_audio_s", "made_audio_s_per_s"]), amounts)
def test_a_heavier_load_never_takes_fewer(load: PoolLoad, aim: Targets, field: str, more: float) -> None:
    heavier = replace(load, **{field: (getattr(load, field) or 0) + more})
    assert desired_replicas(heavier, aim) >= desired_replicas(load, aim)


@given(loads, targets)
def test_longer_waits_and_fuller_slots_never_take_more(load: PoolLoad, aim: Targets) -> None:
    desired = desired_replicas(load, aim)
    assert desired_replicas(load, replace(aim, wait_s=2 * aim.wait_s)) <= desired
    assert desired_replicas(load, replace(aim, load=(aim.load + 1) / 2)) <= desired


@given(loads, targets)
def test_its_answer_is_stable(load: PoolLoad, aim: Targets) -> None:
    desired = desired_replicas(load, aim)
    assert desired_replicas(replace(load, target=desired), aim) == desired


@given(loads, targets)
def test_no_work_takes_no_replica_and_any_work_takes_one(load: PoolLoad, aim: Targets) -> None:
    assert desired_replicas(replace(load, in_use=0, waiting=0), aim) == 0
    assert desired_replicas(replace(load, in_use=0, waiting=1), aim) >= 1


@given(loads, targets)
def test_it_never_takes_more_than_slots_for_all_and_the_spare(load: PoolLoad, aim: Targets) -> None:
    at_once = (load.in_use + load.waiting) / load.slots
    bound = (1 + SPARE) * max(at_once, load.replicas) / aim.load + 1
    assert desired_replicas(load, aim) <= max(bound, load.target if load.replicas == 0 else 0)


@given(st.floats(0.5, 40), st.integers(1, 100), st.floats(0, 20), st.integers(1, 32))
def test_a_steady_load_gets_the_same_at_every_number_of_replicas(
    needed: float, more: int, batching: float, slots: int
) -> None:
    least, most = (np.ceil(needed / REALTIME.load * each - 1e-6) for each in (1, 1 + SPARE))
    load = pool(needed, int(needed) + more, fixed_s=0.001 * batching + 1e-6, each_s=0.001, slots=slots)
    assert least <= desired_replicas(load, REALTIME) <= max(least, most)


def test_counting_slots_alone_would_stop_a_replica_that_is_needed() -> None:
    shape = {"fixed_s": 0.00009, "each_s": 0.00015, "slots": 8}  # about what the embedded model's engine is on a CPU
    alone = [replace(pool(2.5, n, **shape), made_audio_s_per_s=None) for n in (3, 4, 5)]
    assert [desired_replicas(load, REALTIME) for load in alone] == [2, 1, 1]
    assert [desired_replicas(pool(2.5, n, **shape), REALTIME) for n in (3, 4, 5)] == [4, 4, 4]


def test_full_slots_of_a_batch_pool_start_no_replica_while_nothing_waits_too_long() -> None:
    full = PoolLoad(5, 5, 8, in_use=40, waiting=30, waiting_audio_s=900, made_audio_s_per_s=102, audio_s_per_s=20)
    assert desired_replicas(full, BATCH) == 5
    assert desired_replicas(replace(full, waiting_audio_s=300 * 20 * 5), BATCH) == 5
    assert desired_replicas(replace(full, waiting=3000, waiting_audio_s=300 * 20 * 6), BATCH) == 6


def test_realtime_work_that_waits_gets_slots_at_once() -> None:
    burst = PoolLoad(1, 1, 8, in_use=8, waiting=48, waiting_audio_s=480, made_audio_s_per_s=20, audio_s_per_s=20)
    assert desired_replicas(burst, REALTIME) == 10  # 56 of 80 slots


def test_a_queue_of_jobs_starts_as_many_replicas_as_its_wait_target_takes() -> None:
    queued = PoolLoad(0, 0, 8, in_use=0, waiting=200, waiting_audio_s=12_000, audio_s_per_s=20)
    assert desired_replicas(queued, BATCH) == 2
    unmeasured = replace(queued, audio_s_per_s=None)
    assert desired_replicas(unmeasured, BATCH) == 5  # 8 slots, each as fast as its music plays


@given(loads.filter(lambda load: not load.idle), targets)
def test_while_none_is_up_no_starting_replica_is_stopped(load: PoolLoad, aim: Targets) -> None:
    assert desired_replicas(replace(load, replicas=0), aim) >= load.target


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("needed", [0.7, 1.0, 2.45, 4.9, 13.3])
def test_within_serves_delays_steady_arrivals_change_it_at_most_twice_in_half_a_day(needed: float, seed: int) -> None:
    """Twelve hours of Poisson arrivals of 10 s clips on engines of 20 audio-seconds a second, seen as means of 30 s."""
    rng = np.random.default_rng(seed)
    made = np.convolve(rng.poisson(needed * 2 * 10, 4320) / 2, np.full(3, 1 / 3), "valid") * 2
    config, state = SimpleNamespace(upscale_delay_s=10, downscale_delay_s=600, downscale_to_zero_delay_s=None), {}
    target, steps = 1, []
    for i, now in enumerate(made):
        load = PoolLoad(target, target, 8, 1, 0, 0, float(now), 20.0)
        desired = desired_replicas(load, REALTIME)
        before = target
        target, state = _apply_delay_logic(desired, target, config, state, _now=10.0 * i)
        steps += [np.sign(target - before)] if target != before else []
    assert sum(a != b for a, b in pairwise(steps)) <= 2, steps


@given(loads, targets)
def test_the_expected_throughput_is_that_of_the_busy_replicas(load: PoolLoad, aim: Targets) -> None:
    expected = expected_audio_s_per_s(load, aim)
    assert expected == pytest.approx(busy_replicas(load, aim.wait_s) * (load.audio_s_per_s or load.slots))
    assert (expected == 0) == (busy_replicas(load, aim.wait_s) == 0)


def test_followers_match_the_demand_of_the_engines() -> None:
    assert desired_followers(0, 50, target=3, load=0.7) == 0
    assert desired_followers(1, 50, target=0, load=0.7) == 1
    assert desired_followers(350, 50, target=1, load=0.7) == 10
    assert desired_followers(350, 50, target=11, load=0.7) == 11  # of which one is spare
    assert desired_followers(350, 50, target=30, load=0.7) == 11
    assert desired_followers(350, None, target=4, load=0.7) == 4
    assert desired_followers(350, None, target=0, load=0.7) == 1


@pytest.mark.parametrize(
    ("change", "reason"), [({"slots": 0}, "at least one slot"), ({"audio_s_per_s": 0.0}, "more than nothing")]
)
def test_an_impossible_load_is_refused(change: dict[str, float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        replace(PoolLoad(1, 1, 8, 0, 0, 0), **change)


@pytest.mark.parametrize("load", [0, -1, 1.01])
def test_a_target_is_a_share_and_a_wait_takes_time(load: float) -> None:
    with pytest.raises(ValueError, match="at most 1"):
        Targets(load, 1)
    with pytest.raises(ValueError, match="more than 0"):
        Targets(0.7, 0)
