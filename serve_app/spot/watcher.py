"""The watch over one node and its settings: polls the cloud, and drains the node when its end is announced.

The watch ends with the node's raylet. Until then whatever fails is retried: a metadata server that does not answer, a
drain that Ray did not accept.
"""

from __future__ import annotations

import asyncio
import re
from enum import Enum

from pydantic import Field, field_validator

from serve_app.settings import StrictModel
from serve_app.spot.draining import Drainer, DrainError, Node
from serve_app.spot.metadata import DEFAULT_URL, Cloud, MetadataError, Notice, NoticeKind, checked_url
from serve_app.spot.watcher_log import (
    DRAIN_FAILED,
    DRAINING,
    METADATA_ANSWERS,
    METADATA_FAILED,
    NODE_GONE,
    NOTICE,
    REBALANCE,
    WatcherLog,
)

# A server that fails is polled less often, up to so many times the interval: it may be overloaded.
MAX_SLOWDOWN = 4
RETRY_S = 1.0
MAX_RETRY_S = 5.0
POLL_S = 0.5
_NODE_ID = re.compile(r"[0-9a-f]{56}")


class CloudName(str, Enum):
    """The cloud whose metadata server is polled."""

    AWS = "aws"
    GCP = "gcp"


class OnRebalance(str, Enum):
    """What to do at a recommendation to rebalance. Most instances that get one go on for a long time."""

    LOG = "log"
    DRAIN = "drain"


class NodeSettings(StrictModel):
    """node_id: in hex; None: the machine's only node."""

    node_id: str | None = None

    @field_validator("node_id")
    @classmethod
    def _is_a_node_id(cls, node_id: str | None) -> str | None:
        if node_id is not None and not _NODE_ID.fullmatch(node_id):
            raise ValueError("must be the 56 hexadecimal digits of a Ray node's id, as `ray list nodes` shows them")
        return node_id


class WatchSettings(NodeSettings):
    """What a watch needs.

    poll_s: None: as the cloud recommends. timeout_s: of one exchange with the metadata server. margin_s: seconds before
    the announced end by which Ray must have drained the node. start_s: how long to wait for a node.
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
    """deadline_s: seconds from now until the node's end."""

    deadline_s: float = Field(default=110.0, ge=1, le=3600)


class Watcher:
    """Watches one node. poll_s, margin_s, on_rebalance: as `WatchSettings` has them, poll_s filled in."""

    def __init__(
        self,
        node: Node,
        cloud: Cloud,
        drainer: Drainer,
        events: WatcherLog,
        *,
        poll_s: float,
        margin_s: float,
        on_rebalance: OnRebalance,
    ) -> None:
        self._node = node
        self._cloud = cloud
        self._drainer = drainer
        self._events = events
        self._poll_s = poll_s
        self._margin_s = margin_s
        self._on_rebalance = on_rebalance
        self._seen: set[tuple[NoticeKind, str]] = set()
        self._failures = 0

    async def run(self) -> None:
        """Polls until the node is gone."""
        while self._node.is_alive():
            await self._poll()
            await asyncio.sleep(self._poll_s * min(1 + self._failures, MAX_SLOWDOWN))
        self._events.tell(NODE_GONE)

    async def _poll(self) -> None:
        try:
            notices = await self._cloud.notices()
        except MetadataError as error:
            self._failures += 1
            if self._failures == 1:
                self._events.tell(METADATA_FAILED, reason=str(error))
            return
        if self._failures:
            self._events.tell(METADATA_ANSWERS, failures=self._failures)
            self._failures = 0
        for notice in notices:
            if notice.identity not in self._seen:
                self._seen.add(notice.identity)
                await self._act_on(notice)

    async def _act_on(self, notice: Notice) -> None:
        """Drains the node, if the notice calls for it. The deadline counts from here; Ray is told what is left."""
        events = self._events.of(notice=notice.kind.value, said=notice.said)
        if notice.kind is NoticeKind.REBALANCE:
            if self._on_rebalance is OnRebalance.LOG:
                events.tell(REBALANCE)
                return
            events.tell(NOTICE, why="this instance is at elevated risk of interruption", remaining_s=None)
            await drain(self._node, self._drainer, events, "rebalance recommendation of the cloud", None)
            return
        window_s = self._cloud.window_s
        # Never more than the cloud's notice period, whatever the clocks say. A notice without a time may have come just
        # after the poll before.
        remaining_s = window_s - self._poll_s if notice.remaining_s is None else min(notice.remaining_s, window_s)
        deadline_s = asyncio.get_running_loop().time() + remaining_s - self._margin_s
        events.tell(NOTICE, why="the cloud takes this instance back", remaining_s=_rounded(remaining_s))
        await drain(self._node, self._drainer, events, f"spot notice: {notice.kind.value}", deadline_s)


async def wait_until_gone(node: Node) -> None:
    """Returns when the node's raylet has ended."""
    while node.is_alive():  # noqa: ASYNC110 (another process's end is no event of this loop)
        await asyncio.sleep(POLL_S)


async def drain(node: Node, drainer: Drainer, events: WatcherLog, message: str, deadline_s: float | None) -> None:
    """Retries until Ray has accepted the drain, or the node is gone. deadline_s: by the loop's clock; None: unknown."""
    loop, retry_s = asyncio.get_running_loop(), RETRY_S
    while node.is_alive():
        left_s = None if deadline_s is None else deadline_s - loop.time()
        try:
            await drainer.drain(node, message, left_s)
        except DrainError as error:
            late = ", past the deadline" if left_s is not None and left_s <= 0 else ""
            events.tell(DRAIN_FAILED, reason=f"{error}{late}", retry_s=retry_s, left_s=_rounded(left_s))
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, MAX_RETRY_S)
        else:
            events.tell(DRAINING, left_s=_rounded(left_s))
            return


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
