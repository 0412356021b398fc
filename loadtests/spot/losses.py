"""Generations that lost their worker, from the service's own logs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from loadtests.demo.killing import LOST
from loadtests.spot.reference import Take

# As Serve begins each line (Ray 2.60), by local time.
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}")


@dataclass(frozen=True)
class Loss:
    """at_s: since 1970. generation: the first digits of its name."""

    at_s: float
    generation: str
    frame: int


def losses(logs: Iterable[Path]) -> list[Loss]:
    """In all of the pipeline's logs, the earliest first."""
    found = []
    for log in logs:
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            lost, time = LOST.search(line), _TIME.search(line)
            if lost is not None and time is not None:
                at = datetime.strptime(time[0], "%Y-%m-%d %H:%M:%S,%f").astimezone()
                found.append(Loss(at.timestamp(), lost[1], int(lost[2])))
    return sorted(found, key=lambda loss: loss.at_s)


def tell(takes: Sequence[Take], lost: Iterable[tuple[float, Loss]]) -> None:
    """Each take what it lost. lost: each loss with its time since the demonstration began."""
    for at_s, loss in lost:
        for take in takes:
            # The log's time is of a whole process's clock, and the take's of this one's: they agree to milliseconds.
            if take.generation == loss.generation and take.began_s <= at_s and (take.ended_s or at_s) >= at_s:
                take.lost_s.append(at_s)
                take.lost_at.append(loss.frame)
