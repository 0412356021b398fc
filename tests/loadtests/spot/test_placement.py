"""Where workers are, as Serve says it."""

from __future__ import annotations

from loadtests.fleet.node_kinds import ON_DEMAND, SPOT
from loadtests.spot.placement import BATCH, REALTIME, placement


def test_replicas_are_counted_by_market_and_a_real_time_one_on_spot_is_noticed_before_it_runs() -> None:
    def replicas(*places: tuple[str, str | None]) -> dict[str, object]:
        return {"replicas": [{"state": state, **({"node_id": node} if node else {})} for state, node in places]}

    markets = {"a": ON_DEMAND, "b": SPOT}
    deployments = {
        REALTIME: replicas(("RUNNING", "a"), ("STARTING", None), ("STARTING", "b")),
        BATCH: replicas(("RUNNING", "b"), ("STOPPING", "a")),
        "pipeline": replicas(("RUNNING", "b")),
    }
    seen = placement(3.0, deployments, markets)
    assert seen.running == {(REALTIME, ON_DEMAND): 1, (BATCH, SPOT): 1}
    assert (seen.batch_nodes, seen.realtime_on_spot, seen.of(BATCH)) == ({"b"}, 1, 1)
    assert placement(3.0, {}, markets).running == {}
