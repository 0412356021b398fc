"""The kinds of nodes of a fleet, as `cluster.yaml` has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MARKET = "ray.io/market-type"  # the label that clouds' nodes carry
ON_DEMAND, SPOT = "on-demand", "spot"


@dataclass(frozen=True)
class NodeKind:
    """cpus, gpus: that Ray counts on such a node. The GPUs are fake: nothing computes on them."""

    name: str
    cpus: int
    gpus: int
    market: str

    @property
    def options(self) -> dict[str, Any]:
        """As `ray.cluster_utils.Cluster.add_node` takes them."""
        return {
            "num_cpus": self.cpus,
            "num_gpus": self.gpus,
            "labels": {MARKET: self.market, "musicgen/group": self.name},
            "object_store_memory": 100 * 2**20,
        }


KINDS = {
    kind.name: kind
    for kind in (
        NodeKind("cpu", 2, 0, ON_DEMAND),
        NodeKind("gpu_realtime", 2, 1, ON_DEMAND),
        NodeKind("gpu_batch", 1, 1, SPOT),
    )
}
