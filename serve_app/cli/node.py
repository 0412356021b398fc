"""`musicgen node watch | drain`: runs on each node that a cloud may take back, beside its raylet."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

from serve_app.cli.options import Json
from serve_app.cli.terminal import DONE, FAILED, WRONG_USAGE, CommandError, print_json

HELP = "Drain the Ray node that this runs on, before its cloud takes the machine back."


NodeId = Annotated[
    str | None, typer.Option(metavar="HEX", help="Of the node; without it the only one on this machine.")
]


def watch(
    cloud: Annotated[
        Literal["aws", "gcp"] | None, typer.Option(metavar="aws|gcp", help="Whose machine it is; aws without it.")
    ] = None,
    metadata_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Of the metadata server; the cloud's own without it.")
    ] = None,
    rebalance: Annotated[
        Literal["log", "drain"] | None,
        typer.Option(metavar="log|drain", help="What a recommendation to rebalance leads to (AWS); log without it."),
    ] = None,
    poll_s: Annotated[float | None, typer.Option(help="How often to ask; 5 on AWS and 1 on GCP without it.")] = None,
    timeout_s: Annotated[float | None, typer.Option(help="Of one question; 2 without it.")] = None,
    margin_s: Annotated[
        float | None, typer.Option(help="How long before the end Ray shall be done; 5 without it.")
    ] = None,
    start_s: Annotated[
        float | None, typer.Option(help="How long to wait for the node to start; 60 without it.")
    ] = None,
    node_id: NodeId = None,
    json: Json = False,
) -> int:
    """Drain this node when its cloud announces its end.

    Asks the cloud's metadata server for a notice of interruption, and drains this node through Ray when there is one.
    Ends with the node's raylet, or when told to (SIGTERM).

    Example: musicgen node watch --cloud aws
    """
    options = {
        "cloud": cloud,
        "metadata_url": metadata_url,
        "rebalance": rebalance,
        "poll_s": poll_s,
        "timeout_s": timeout_s,
        "margin_s": margin_s,
        "start_s": start_s,
        "node_id": node_id,
    }
    return _run("watch", options, json)


def drain_now(
    deadline_s: Annotated[float | None, typer.Option(help="How long that may take; 110 without it.")] = None,
    node_id: NodeId = None,
    json: Json = False,
) -> int:
    """Drain this node at once, as a Kubernetes preStop hook does, and wait until nothing is left on it.

    Example: musicgen node drain --deadline-s 105
    """
    return _run("drain", {"deadline_s": deadline_s, "node_id": node_id}, json)


COMMANDS: dict[str, Callable[..., Any]] = {"watch": watch, "drain": drain_now}


def _run(command: Literal["watch", "drain"], options: dict[str, object], as_json: bool) -> int:
    """The exit status. The events go to standard error, one JSON object a line."""
    from pydantic import ValidationError

    from serve_app.settings import sentence
    from serve_app.spot import watcher_log
    from serve_app.spot.draining import DrainError, NodeError, check_ray
    from serve_app.spot.node import drain_node, until_told, watch_node
    from serve_app.spot.watcher import CloudName, DrainSettings, OnRebalance, WatchSettings

    events = watcher_log.WatcherLog(sys.stderr)
    given = {name: value for name, value in options.items() if value is not None}
    enums: dict[str, Callable[[Any], object]] = {"cloud": CloudName, "rebalance": OnRebalance}
    given |= {name: enums[name](value) for name, value in given.items() if name in enums}
    try:
        if command == "watch":
            work = watch_node(WatchSettings.model_validate(given), events)
        else:
            work = drain_node(DrainSettings.model_validate(given), events)
    except ValidationError as error:
        raise CommandError(f"--{sentence(error).replace('_', '-', 1)}", WRONG_USAGE) from None
    try:
        check_ray()
        is_gone = asyncio.run(until_told(work, events))
    except (NodeError, DrainError) as error:
        work.close()
        events.tell(watcher_log.FAILED, reason=str(error))
        return FAILED
    except (TimeoutError, asyncio.TimeoutError):
        events.tell(watcher_log.NOT_DRAINED)
        return FAILED
    if as_json:
        print_json({"node_gone": is_gone})
    return DONE
