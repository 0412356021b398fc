"""`python -m serve_app.spot watch | drain`: runs on each node that a cloud may take back, beside its raylet.

Exit status: 0 when the node is drained and gone, or the watch was told to end; 1 when there is no node, or it was
not drained in time; 2 when an option is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

from pydantic import ValidationError

from serve_app.settings.strict import sentence
from serve_app.spot.clouds import Aws, Gcp
from serve_app.spot.draining import Drainer, DrainError, Node, NodeError, check_ray, find_node
from serve_app.spot.metadata import DEFAULT_URL, Cloud, MetadataServer
from serve_app.spot.options import CloudName, DrainSettings, OnRebalance, WatchSettings
from serve_app.spot.watcher import LOOK_S, Watcher, drain, until_gone
from serve_app.spot.watcher_log import ENDED, FAILED, NODE_GONE, NOT_DRAINED, NOTICE, WAITING, WATCHING, Events

_CLOUDS: dict[CloudName, Callable[[MetadataServer], Cloud]] = {CloudName.AWS: Aws, CloudName.GCP: Gcp}


async def watch(settings: WatchSettings, events: Events) -> None:
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


async def drain_now(settings: DrainSettings, events: Events) -> None:
    """Returns when the node is drained and gone. Raises: NodeError; TimeoutError when that takes longer."""
    node = find_node(settings.node_id)
    events = events.of(node_id=node.node_id)
    deadline_s = asyncio.get_running_loop().time() + settings.deadline_s
    events.tell(NOTICE, why="told to", remaining_s=settings.deadline_s)

    async def drained() -> None:
        async with aclosing(Drainer()) as drainer:
            await drain(node, drainer, events, "told to drain", deadline_s)
        await until_gone(node)

    await asyncio.wait_for(drained(), settings.deadline_s)
    events.tell(NODE_GONE)


async def _awaited_node(settings: WatchSettings, events: Events) -> Node:
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
            await asyncio.sleep(LOOK_S)


async def _until_told(work: Coroutine[Any, Any, None], events: Events) -> None:
    """Returns when the work is done, or SIGTERM or SIGINT comes."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    if task.cancelled():
        events.tell(ENDED)


def main(arguments: list[str]) -> int:
    """Does as told; returns the exit status."""
    options = vars(_parser().parse_args(arguments))
    work, settings_type = options.pop("work"), options.pop("settings")
    events = Events(sys.stderr)
    try:
        settings = settings_type.model_validate({name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        print(f"--{sentence(error).replace('_', '-', 1)}", file=sys.stderr)
        return 2
    try:
        check_ray()
        asyncio.run(_until_told(work(settings, events), events))
    except (NodeError, DrainError) as error:
        events.tell(FAILED, reason=str(error))
        return 1
    except (TimeoutError, asyncio.TimeoutError):
        events.tell(NOT_DRAINED)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serve_app.spot", description="Drains the node it runs on.")
    commands = parser.add_subparsers(required=True, metavar="watch | drain")
    watching = commands.add_parser(
        "watch",
        help="drain this node when its cloud announces its end",
        description="Asks the cloud's metadata server for a notice of interruption, and drains this node through Ray "
        "when there is one. Ends with the node's raylet, or when told to (SIGTERM).",
    )
    watching.set_defaults(work=watch, settings=WatchSettings)
    watching.add_argument("--cloud", type=CloudName, choices=list(CloudName), metavar="aws|gcp", help="default: aws")
    watching.add_argument("--metadata-url", metavar="URL", help=f"of the metadata server; default: {DEFAULT_URL}")
    watching.add_argument(
        "--rebalance", type=OnRebalance, choices=list(OnRebalance), metavar="log|drain",
        help="what a recommendation to rebalance leads to (AWS); default: log",
    )  # fmt: skip
    watching.add_argument("--poll-s", type=float, help="how often to ask; default: 5 on AWS, 1 on GCP")
    watching.add_argument("--timeout-s", type=float, help="of one question; default: 2")
    watching.add_argument("--margin-s", type=float, help="how long before the end Ray shall be done; default: 5")
    watching.add_argument("--start-s", type=float, help="how long to wait for the node to start; default: 60")
    draining = commands.add_parser(
        "drain",
        help="drain this node at once, as a Kubernetes preStop hook does",
        description="Drains this node through Ray at once, and waits until nothing is left on it.",
    )
    draining.set_defaults(work=drain_now, settings=DrainSettings)
    draining.add_argument("--deadline-s", type=float, help="how long that may take; default: 110")
    for each in (watching, draining):
        each.add_argument("--node-id", metavar="HEX", help="of the node; default: the only one on this machine")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
