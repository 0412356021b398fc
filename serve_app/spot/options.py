"""What the watcher is told: frozen, checked once."""

from __future__ import annotations

import re
from enum import Enum

from pydantic import Field, field_validator

from serve_app.settings.strict import StrictModel
from serve_app.spot.metadata import DEFAULT_URL, checked_url

_NODE_ID = re.compile(r"[0-9a-f]{56}")


class CloudName(str, Enum):
    """Whose metadata server it is."""

    AWS = "aws"
    GCP = "gcp"


class OnRebalance(str, Enum):
    """What a recommendation to rebalance leads to. Most instances that get one live on for long."""

    LOG = "log"
    DRAIN = "drain"


class NodeSettings(StrictModel):
    """node_id: in hex; None: the machine's only one."""

    node_id: str | None = None

    @field_validator("node_id")
    @classmethod
    def _is_a_node_id(cls, node_id: str | None) -> str | None:
        if node_id is not None and not _NODE_ID.fullmatch(node_id):
            raise ValueError("must be the 56 hexadecimal digits of a Ray node's id, as `ray list nodes` shows them")
        return node_id


class WatchSettings(NodeSettings):
    """poll_s: None: as the cloud recommends. timeout_s: of one exchange with the metadata server.

    margin_s: how long before the end that the cloud names Ray shall be done. start_s: how long to wait for a node.
    """

    cloud: CloudName = CloudName.AWS
    metadata_url: str = DEFAULT_URL
    rebalance: OnRebalance = OnRebalance.LOG
    poll_s: float | None = Field(default=None, ge=0.1, le=30)
    timeout_s: float = Field(default=2.0, ge=0.1, le=10)
    margin_s: float = Field(default=5.0, ge=0, le=60)
    start_s: float = Field(default=60.0, ge=0, le=3600)

    @field_validator("metadata_url")
    @classmethod
    def _is_a_metadata_server(cls, url: str) -> str:
        return checked_url(url)


class DrainSettings(NodeSettings):
    """deadline_s: until the node's end, from now on."""

    deadline_s: float = Field(default=110.0, ge=1, le=3600)
