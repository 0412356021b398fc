"""Generations that lost their worker, from the service's own logs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from loadtests.demo.worker_kill import LOST
from loadtests.spot.reference_jobs import JobRun

# As Serve begins each line (Ray 2.60), by local time.
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}")


@dataclass(frozen=True)
class WorkerLoss:
    """at_s: since 1970. generation: the first digits of its name."""

    at_s: float
    generation: str
    frame: int


def losses_in(logs: Iterable[Path]) -> list[WorkerLoss]:
    """In all of the pipeline's logs, the earliest first."""
    found = []
    for log in logs:
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            lost, time = LOST.search(line), _TIME.search(line)
            if lost is not None and time is not None:
                at = datetime.strptime(time[0], "%Y-%m-%d %H:%M:%S,%f").astimezone()
                found.append(WorkerLoss(at.timestamp(), lost[1], int(lost[2])))
    return sorted(found, key=lambda loss: loss.at_s)


class LossLog:
    """logs: those that the pipeline's replicas have by now. epoch_s: when the demonstration began, since 1970."""

    def __init__(self, logs: Callable[[], Iterable[Path]], epoch_s: float) -> None:
        self._logs = logs
        self._epoch_s = epoch_s

    def all(self) -> list[tuple[float, WorkerLoss]]:
        """Each with its time since the demonstration began."""
        return [(loss.at_s - self._epoch_s, loss) for loss in losses_in(self._logs())]

    def tell(self, jobs: Iterable[JobRun]) -> None:
        """Each take what it has lost so far."""
        lost = self.all()
        for job in jobs:
            mine = [(at_s, loss.frame) for at_s, loss in lost if _is_of(loss, at_s, job)]
            job.lost_s, job.lost_at = [at_s for at_s, _ in mine], [frame for _, frame in mine]


def _is_of(loss: WorkerLoss, at_s: float, job: JobRun) -> bool:
    """A reference is made again only when its last take has ended."""
    return job.generation == loss.generation and job.began_s <= at_s and (job.ended_s or at_s) >= at_s
