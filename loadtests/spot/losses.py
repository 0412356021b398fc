"""Generations that lost their worker, from the service's own logs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
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


class LossLog:
    """logs: those that the pipeline's replicas have by now. epoch_s: when the demonstration began, since 1970."""

    def __init__(self, logs: Callable[[], Iterable[Path]], epoch_s: float) -> None:
        self._logs = logs
        self._epoch_s = epoch_s

    def all(self) -> list[tuple[float, Loss]]:
        """Each with its time since the demonstration began."""
        return [(loss.at_s - self._epoch_s, loss) for loss in losses(self._logs())]

    def tell(self, takes: Iterable[Take]) -> None:
        """Each take what it has lost so far."""
        lost = self.all()
        for take in takes:
            mine = [(at_s, loss.frame) for at_s, loss in lost if _is_of(loss, at_s, take)]
            take.lost_s, take.lost_at = [at_s for at_s, _ in mine], [frame for _, frame in mine]


def _is_of(loss: Loss, at_s: float, take: Take) -> bool:
    """A reference is made again only when its last take has ended."""
    return take.generation == loss.generation and take.began_s <= at_s and (take.ended_s or at_s) >= at_s
