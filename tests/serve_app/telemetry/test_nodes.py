from __future__ import annotations

from serve_app.telemetry.deployment import ClusterNode, EndReason, Market, record_nodes
from serve_app.telemetry.service_metrics import NODES, NODES_ENDED
from tests.deployments.telemetry.recorded import Recorded


def node(market: Market, ended: EndReason | None = None) -> ClusterNode:
    return ClusterNode("n", market, ended, "http://127.0.0.1:1/metrics")


def test_nodes_are_counted_by_market_and_by_why_they_went_also_where_there_is_none() -> None:
    recorded = Recorded()
    record_nodes(recorded, [node("spot"), node("spot"), node("spot", "preempted"), node("none", "lost"), node("none")])
    assert recorded.last(NODES) == {("spot",): 2, ("on-demand",): 0, ("none",): 1}
    ended = recorded.last(NODES_ENDED)
    assert len(ended) == 12
    assert {labels: value for labels, value in ended.items() if value} == {
        ("spot", "preempted"): 1,
        ("none", "lost"): 1,
    }
