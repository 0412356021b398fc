"""The options of a load run, beside Locust's own, and the check of its target: other machines only if allowed."""

from __future__ import annotations

import argparse
import ipaddress
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from loadtests.load.shapes import SHAPES, Shape, shape

KEY_VARIABLE = "MUSICGEN_API_KEY"
KINDS = ("compose", "repeat", "stream", "job", "hang-up")
# Of ten users.
DEFAULT_WEIGHTS = {"compose": 2, "repeat": 2, "stream": 4, "job": 1, "hang-up": 1}
MAX_USERS = 200
MAX_DURATION_S = 3600.0
_MAX_LENGTH_S = 30.0
_MIN_LENGTH_S = 0.5


@dataclass(frozen=True)
class Options:
    """weights: how many users there are of each of KINDS, compared. lengths_ms: of clips, all as likely. pace_s:
    between a user's requests, on average. seed: of all that is drawn. silence_s: how long nothing may come.
    """

    url: str
    api_key: str | None
    weights: Mapping[str, int]
    lengths_ms: Sequence[int]
    pace_s: float
    shape: Shape
    seed: int
    queue: str
    silence_s: float
    samples: Path | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declares them. Each may also come by the environment, which Locust reads for its own options too."""
    group = parser.add_argument_group("musicgen-serve")
    weights = ",".join(f"{kind}={weight}" for kind, weight in DEFAULT_WEIGHTS.items())
    group.add_argument("--weights", default=weights, help=f"users of each kind, compared; {weights} without")
    group.add_argument("--lengths", default="2,4,6", help="seconds of the clips, all as likely; 2,4,6 without")
    group.add_argument("--pace", type=float, default=4.0, help="seconds between a user's requests; 4 without")
    group.add_argument("--shape", choices=SHAPES, default="steps", help="steps without")
    group.add_argument("--levels", default="10,20,30", help="users: of each step, before and in a spike, of a soak")
    group.add_argument("--hold", type=float, default=20.0, help="seconds of each level; 20 without")
    group.add_argument("--seed", type=int, default=0, help="the same one asks for the same clips in the same order")
    group.add_argument("--queue", choices=("batch", "realtime"), default="batch", help="of jobs; batch without")
    group.add_argument("--silence", type=float, default=60.0, help="seconds without a byte that fail; 60 without")
    group.add_argument("--samples", default="", help="a file for a line of JSON about each request")
    group.add_argument("--allow-host", action="append", default=[], help="load another machine than this one")


def options(given: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Options:
    """What the command line means. Raises: ValueError with what would be right."""
    chosen = shape(given.shape, [_integer(level, "--levels") for level in given.levels.split(",")], given.hold)
    if not 0 < chosen.duration_s <= MAX_DURATION_S or chosen.max_users > MAX_USERS:
        raise ValueError(f"a run has {MAX_USERS} users and takes {MAX_DURATION_S:g} s at most")
    if not (0 < given.pace < math.inf and 0 < given.silence < math.inf):
        raise ValueError("--pace and --silence must be seconds, above 0")
    key = environment.get(KEY_VARIABLE) or None
    if key is not None and not re.fullmatch("[!-~]+", key):
        raise ValueError(f"{KEY_VARIABLE} must be printable ASCII without spaces")
    return Options(
        url=checked_target(given.host, given.allow_host),
        api_key=key,
        weights=_weights(given.weights),
        lengths_ms=_lengths_ms(given.lengths),
        pace_s=given.pace,
        shape=chosen,
        seed=given.seed,
        queue=given.queue,
        silence_s=given.silence,
        samples=Path(given.samples) if given.samples else None,
    )


def _weights(text: str) -> Mapping[str, int]:
    weights = dict.fromkeys(KINDS, 0)
    for part in text.split(","):
        kind, _, weight = part.partition("=")
        if kind not in weights:
            raise ValueError(f"--weights knows {', '.join(KINDS)}, each with =NUMBER")
        weights[kind] = _integer(weight, "--weights")
    if min(weights.values()) < 0 or not any(weights.values()):
        raise ValueError("--weights must be 0 or more, and one of them above 0")
    return weights


def _lengths_ms(text: str) -> Sequence[int]:
    try:
        seconds = [float(each) for each in text.split(",")]
    except ValueError as error:
        raise ValueError("--lengths must be seconds, with commas between them") from error
    if not all(_MIN_LENGTH_S <= each <= _MAX_LENGTH_S for each in seconds):
        raise ValueError(f"--lengths must be from {_MIN_LENGTH_S:g} to {_MAX_LENGTH_S:g} s")
    return tuple(round(1000 * each) for each in seconds)


def _integer(text: str, option: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text.strip()):
        raise ValueError(f"{option} must have whole numbers, with commas between them")
    return int(text)


def checked_target(url: str | None, allowed_hosts: Sequence[str]) -> str:
    """The address without a slash at its end. allowed_hosts: names or numbers besides those of this machine.

    Raises: ValueError for what is no address of a service, and for any other machine.
    """
    parts = urlsplit(url or "")
    if parts.scheme not in ("http", "https") or parts.hostname is None or parts.username or parts.query:
        raise ValueError("the service must be an address like http://127.0.0.1:8000")
    if not is_loopback(parts.hostname) and parts.hostname not in {host.lower() for host in allowed_hosts}:
        raise ValueError("load goes to this machine only; --allow-host names another that may be burdened")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def is_loopback(host: str) -> bool:
    """Whether a name or number means this machine, without asking anybody."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
