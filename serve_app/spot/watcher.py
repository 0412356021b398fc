"""The watch over one node: polls its cloud, and drains the node when its end is announced.

It ends with the node's raylet. Whatever else fails is tried again for as long as that lives: a metadata server that is
away, a drain that Ray did not take.
"""

from __future__ import annotations

import asyncio

from serve_app.spot.draining import Drainer, DrainError, Node
from serve_app.spot.metadata import Cloud, Kind, MetadataError, Notice
from serve_app.spot.options import OnRebalance
from serve_app.spot.watcher_log import (
    DRAIN_FAILED,
    DRAINING,
    METADATA_ANSWERS,
    METADATA_FAILED,
    NODE_GONE,
    NOTICE,
    REBALANCE,
    Events,
)

# A server that fails is asked less often: it may be too much for it already.
MAX_SLOWDOWN = 4
RETRY_S = 1.0
MAX_RETRY_S = 5.0
LOOK_S = 0.5


class Watcher:
    """poll_s: how often the cloud is asked. margin_s: how long before the announced end Ray shall be done."""

    def __init__(
        self,
        node: Node,
        cloud: Cloud,
        drainer: Drainer,
        events: Events,
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
        self._seen: set[tuple[Kind, str]] = set()
        self._failures = 0

    async def run(self) -> None:
        """Returns when the node is gone."""
        while self._node.is_alive():
            await self._look()
            await asyncio.sleep(self._poll_s * min(1 + self._failures, MAX_SLOWDOWN))
        self._events.tell(NODE_GONE)

    async def _look(self) -> None:
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
                await self._heed(notice)

    async def _heed(self, notice: Notice) -> None:
        """The clock of the notice's end runs from here; Ray is told what is left when it is told."""
        events = self._events.of(notice=notice.kind.value, said=notice.said)
        if notice.kind is Kind.REBALANCE:
            if self._on_rebalance is OnRebalance.LOG:
                events.tell(REBALANCE)
                return
            events.tell(NOTICE, why="this instance is at elevated risk of interruption", remaining_s=None)
            await drain(self._node, self._drainer, events, "rebalance recommendation of the cloud", None)
            return
        window_s = self._cloud.window_s
        # Never more than the cloud gives, whatever clocks say; and where it gives no time, the first poll that could
        # have seen the notice may have been just before it.
        remaining_s = window_s - self._poll_s if notice.remaining_s is None else min(notice.remaining_s, window_s)
        deadline_s = asyncio.get_running_loop().time() + remaining_s - self._margin_s
        events.tell(NOTICE, why="the cloud takes this instance back", remaining_s=_rounded(remaining_s))
        await drain(self._node, self._drainer, events, f"spot notice: {notice.kind.value}", deadline_s)


async def until_gone(node: Node) -> None:
    """Returns when its raylet has ended."""
    while node.is_alive():  # noqa: ASYNC110 (another process's end is no event of this loop)
        await asyncio.sleep(LOOK_S)


async def drain(node: Node, drainer: Drainer, events: Events, message: str, deadline_s: float | None) -> None:
    """Returns once Ray has taken the request, or the node is gone. deadline_s: by the loop's clock; None: unknown."""
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
