"""Nodes that come late, drain, are taken and given back: what they cost, and that nothing is lost with them."""

from __future__ import annotations

import numpy as np
import pytest

from loadtests.simulation.arrivals import DAY_S, Arrivals, Demand, draw
from loadtests.simulation.cloud import CloudSettings
from loadtests.simulation.deployment import ServeScaler, rays_default
from loadtests.simulation.engine import EngineCurve
from loadtests.simulation.fleet import WINDOW_S
from loadtests.simulation.pool import Outcome, PoolSettings, simulate
from loadtests.simulation.scaler import Observed, Scaler, fixed, ours
from serve_app.scaling.policy import Targets

GPU, CPU = EngineCurve.assumed(8, 20, 5), EngineCurve(0.00009, 0.00015)
NOBODY = Arrivals(np.zeros(0), np.zeros(0), np.zeros(1))


def pool(scaler: Scaler, arrivals: Arrivals, cloud: CloudSettings, hours: float, **changes: object) -> Outcome:
    settings = {"curve": GPU, "slots": 8, "cloud": cloud, "max_replicas": 60, **changes}
    return simulate(arrivals, PoolSettings(**settings), scaler, 3600 * hours, np.random.default_rng(1))


def arrivals(busy: float, hours: float, curve: EngineCurve = GPU) -> Arrivals:
    demand = Demand(busy * curve.audio_s_per_s(8), (5, 10, 20, 30))
    return draw(demand, 3600 * hours, np.random.default_rng(0))


def serve(targets: Targets, least: int = 1) -> Scaler:
    options = {"min_replicas": least, "max_replicas": 60, "upscale_delay_s": 10, "downscale_delay_s": 300}
    return ServeScaler(ours(targets), options)


def test_what_arrives_has_the_rate_and_the_profile_that_were_asked_for() -> None:
    drawn = draw(Demand(100, (10, 30), daily=0.7, batch=5), 4 * DAY_S, np.random.default_rng(0))
    assert np.all(np.diff(drawn.arrives_s) >= 0)
    assert drawn.audio_s.sum() / (4 * DAY_S) == pytest.approx(100, rel=0.01)
    hours = drawn.arrives_s % DAY_S // 3600
    night, day = (np.isin(hours, each).sum() for each in ([3, 4], [15, 16]))
    assert day / night == pytest.approx(1.7 / 0.3, rel=0.1)
    assert set(drawn.audio_s) == {10, 30}


def test_a_fleet_of_fixed_size_costs_its_nodes_hours() -> None:
    outcome = pool(fixed(7), NOBODY, CloudSettings(on_demand_price=3), 5, initial=7)
    assert outcome.cost == pytest.approx(7 * 5 * 3)
    assert outcome.up_s == 7 * 5 * 3600


def test_a_replica_is_up_once_its_node_has_started_and_its_model_is_loaded() -> None:
    cloud = CloudSettings(node_start_s=100, load_s=50, jitter=0)
    outcome = pool(fixed(3), NOBODY, cloud, 0.1, initial=0, look_s=1.0)
    assert list(outcome.course.up[[0, 149, 152]]) == [0, 0, 3]


def test_a_node_without_a_replica_is_taken_again_or_given_back() -> None:
    cloud = CloudSettings(node_start_s=100, load_s=50, jitter=0, idle_s=200)

    def one_but_for(begin_s: float, end_s: float) -> Scaler:
        return lambda observed: 0 if begin_s <= observed.now_s < end_s else 1

    again = pool(one_but_for(1000, 1150), NOBODY, cloud, 1)
    assert again.cost == pytest.approx(1)
    assert again.up_s == 3600 - 190  # loading took 50, and the look after it counts
    anew = pool(one_but_for(1000, 1500), NOBODY, cloud, 1)
    assert anew.cost == pytest.approx((3600 - 300) / 3600)
    assert anew.up_s == 3600 - 640


@pytest.mark.parametrize("noticed", [0.0, 0.5, 1.0])
def test_nothing_is_lost_but_a_window_of_each_generation_on_nodes_that_are_taken(noticed: float) -> None:
    cloud = CloudSettings(spot=True, preemptions_per_hour=6, noticed=noticed)
    long_ones = draw(Demand(100, (30, 60, 120, 300), batch=3), 6 * 3600, np.random.default_rng(0))
    outcome = pool(serve(Targets(1, 60), least=0), long_ones, cloud, 6, initial=5)
    assert outcome.preemptions > 30
    assert outcome.moved > 100
    assert outcome.num_arrived == outcome.num_ended + outcome.num_in_use + outcome.num_waiting
    assert outcome.asked_audio_s + outcome.lost_audio_s == pytest.approx(outcome.made_audio_s + outcome.unmade_audio_s)
    assert 0 < outcome.lost_audio_s <= outcome.moved * WINDOW_S


def test_where_spot_is_refused_nodes_on_demand_do_the_work() -> None:
    cloud = CloudSettings(spot=True, refused=1, preemptions_per_hour=6)
    outcome = pool(fixed(5), NOBODY, cloud, 2, initial=5)
    assert outcome.preemptions == 0
    assert outcome.cost == pytest.approx(5 * (2 - 60 / 3600))


def test_a_spike_raises_the_fleet_once_and_lets_it_fall_once() -> None:
    rng = np.random.default_rng(3)
    at_s = np.sort(np.concatenate([rng.uniform(0, 4 * 3600, 300), rng.uniform(3600, 3600 + 1200, 2000)]))
    spike = Arrivals(at_s, np.full(len(at_s), 10.0), np.zeros(1))
    outcome = pool(serve(Targets(0.7, 1)), spike, CloudSettings(), 4)
    assert outcome.course.turns == 1
    assert (outcome.course.target[0], outcome.course.target[-1]) == (1, 1)
    assert outcome.course.target.max() > 3
    assert outcome.num_ended == outcome.num_arrived


def test_a_batch_pool_starts_from_none_works_through_its_queue_in_time_and_stops() -> None:
    crowd = Arrivals(np.full(500, 600.0), np.full(500, 60.0), np.zeros(1))
    cloud = CloudSettings(spot=True, preemptions_per_hour=0, refused=0)
    outcome = pool(serve(Targets(1, 900), least=0), crowd, cloud, 3, initial=0)
    assert outcome.num_ended == 500
    assert outcome.course.target.max() == 2  # 1,500 s of one replica
    assert outcome.course.target[-1] == 0
    assert outcome.waits_s.max() < 900 + 1.3 * (cloud.node_start_s + cloud.load_s) + 60


def test_help_does_not_flap_where_one_generation_alone_is_nearly_as_fast_as_all_slots() -> None:
    coming = arrivals(5, 1.5, CPU)
    rays = rays_default({"min_replicas": 1, "max_replicas": 60, "target_ongoing_requests": 0.7 * 8})
    turns = [
        pool(scaler, coming, CloudSettings(), 1.5, curve=CPU, initial=8).course.turns
        for scaler in (serve(Targets(0.7, 1)), rays)
    ]
    assert turns[0] <= 1 < 4 <= turns[1]


def test_the_scaler_sees_means_over_its_look_back() -> None:
    seen: list[Observed] = []

    def look(observed: Observed) -> int:
        seen.append(observed)
        return 2

    one = Arrivals(np.array([15.0]), np.array([20.0]), np.zeros(1))
    pool(look, one, CloudSettings(), 0.05, initial=2, curve=EngineCurve(0.02, 0.0))  # real time: in its slot for 20 s
    means = [0, 5 / 20, 15 / 30, 20 / 30, 15 / 30, 5 / 30]
    assert [each.in_use for each in seen[:6]] == pytest.approx(means)
    assert [each.made_audio_s_per_s for each in seen[:6]] == pytest.approx(means)
    assert all(each.replicas == each.target == 2 for each in seen)
