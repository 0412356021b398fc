"""What runs on a node that a cloud may take back: the watch for its end, and the drain of it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

from serve_app.spot.clouds import AwsCloud, GcpCloud
from serve_app.spot.draining import Drainer, Node, NodeError, find_node
from serve_app.spot.metadata import Cloud, MetadataServer
from serve_app.spot.watcher import POLL_S, CloudName, DrainSettings, Watcher, WatchSettings, drain, wait_until_gone
from serve_app.spot.watcher_log import ENDED, NODE_GONE, NOTICE, WAITING, WATCHING, WatcherLog

_CLOUDS: dict[CloudName, Callable[[MetadataServer], Cloud]] = {CloudName.AWS: AwsCloud, CloudName.GCP: GcpCloud}


async def watch_node(settings: WatchSettings, events: WatcherLog) -> None:
    """Returns when the node is gone. Raises: NodeError."""
    node = await _awaited_node(settings, events)
    events = events.of(node_id=node.node_id)
    async with MetadataServer(settings.metadata_url, settings.timeout_s) as server:
        cloud = _CLOUDS[settings.cloud](server)
        poll_s = settings.poll_s or cloud.poll_s
        async with aclosing(Drainer()) as drainer:
            await drainer.start()
            events.tell(WATCHING, url=settings.metadata_url, poll_s=poll_s)
            watcher = Watcher(
                node, cloud, drainer, events,
                poll_s=poll_s, margin_s=settings.margin_s, on_rebalance=settings.rebalance,
            )  # fmt: skip
            await watcher.run()


async def drain_node(settings: DrainSettings, events: WatcherLog) -> None:
    """Returns when the node is drained and gone. Raises: NodeError; TimeoutError when that takes longer."""
    node = find_node(settings.node_id)
    events = events.of(node_id=node.node_id)
    deadline_s = asyncio.get_running_loop().time() + settings.deadline_s
    events.tell(NOTICE, why="told to", remaining_s=settings.deadline_s)

    async def drained() -> None:
        async with aclosing(Drainer()) as drainer:
            await drain(node, drainer, events, "told to drain", deadline_s)
        await wait_until_gone(node)

    await asyncio.wait_for(drained(), settings.deadline_s)
    events.tell(NODE_GONE)


async def _awaited_node(settings: WatchSettings, events: WatcherLog) -> Node:
    """The node may be about to start. Raises: NodeError when it hasn't in time."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + settings.start_s
    is_told = False
    while True:
        try:
            return find_node(settings.node_id)
        except NodeError as error:
            if loop.time() >= until_s:
                raise
            if not is_told:
                events.tell(WAITING, reason=str(error), start_s=settings.start_s)
                is_told = True
            await asyncio.sleep(POLL_S)


async def until_told(work: Coroutine[Any, Any, None], events: WatcherLog) -> bool:
    """Whether the work was done; else SIGTERM or SIGINT came first."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    if task.cancelled():
        events.tell(ENDED)
    return not task.cancelled()
