"""All that was observed, and what it shows. Times are seconds since the demonstration began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from loadtests.load.samples import Sample
from loadtests.load.user_tasks import LONGEST_GAP
from loadtests.spot.load import failed
from loadtests.spot.placement import Placement
from loadtests.spot.reference_jobs import JobRun


@dataclass(frozen=True)
class NodeLoss:
    """A spot node that was taken. at_s: its notice, or its end where it had none. gone_s: when nothing was left of it.
    whole_s: when its pool had as many workers as before. until_s: when the next one began, or the load ended. drained:
    it ended by itself, when nothing was left to do on it.
    """

    how: Literal["notice", "kill"]
    at_s: float
    gone_s: float
    whole_s: float
    until_s: float
    drained: bool

    def covers(self, moment_s: float) -> bool:
        return self.at_s <= moment_s < self.until_s


@dataclass(frozen=True)
class Observations:
    """began_s: of the load. samples: Locust's. losses_s: when any generation lost its worker. jobs: the demonstration's
    own. undisturbed: those that lost their worker, made again afterwards.
    """

    began_s: float
    node_losses: Sequence[NodeLoss]
    samples: Sequence[Sample]
    losses_s: Sequence[float]
    jobs: Sequence[JobRun]
    undisturbed: Sequence[JobRun]
    placements: Sequence[Placement]

    @property
    def requests(self) -> list[Sample]:
        """Without those that were refused, or that Locust's end met as they began."""
        counted = (each for each in self.samples if each.method != "AUDIO")
        return [each for each in counted if each.end in ("right", "wrong") or failed(each)]

    @property
    def num_refused(self) -> int:
        return sum(each.end == "refused" for each in self.samples)

    @property
    def compared(self) -> list[JobRun]:
        """Those that lost a worker."""
        return [job for job in self.jobs if job.lost_s]

    def again(self, job: JobRun) -> JobRun | None:
        """The same, undisturbed."""
        return next((each for each in self.undisturbed if each.reference == job.reference), None)

    def equal(self, job: JobRun) -> bool:
        """Whether it is whole, and the undisturbed one to the last byte."""
        again = self.again(job)
        return job.error is None and job.sha256 != "" and again is not None and again.sha256 == job.sha256

    def resumed(self, node_loss: NodeLoss) -> list[JobRun]:
        """Those that lost a worker in it."""
        return [job for job in self.jobs if any(map(node_loss.covers, job.lost_s))]

    def longest_pause_s(self, node_loss: NodeLoss) -> float:
        """In the making of a reference, when its worker was lost."""
        return max(
            (job.pause_s(lost_s) for job in self.jobs for lost_s in job.lost_s if node_loss.covers(lost_s)),
            default=0.0,
        )

    def longest_gap_s(self, from_s: float, until_s: float) -> float:
        """That a real-time listener heard, who began in this time."""
        gaps = [each for each in self.samples if each.name == LONGEST_GAP and from_s <= each.at_s < until_s]
        return max((gap.ms / 1000 for gap in gaps), default=0.0)

    def faults(self) -> list[str]:
        """What is not as it should be, a sentence each."""
        found = []
        wrong = [each for each in self.requests if failed(each)]
        if wrong:
            reasons = sorted({f"{each.method} {each.name}: {each.failure or 'no end of it came'}" for each in wrong})
            found.append(f"{len(wrong)} of {len(self.requests)} requests failed: {'; '.join(reasons)[:1000]}")
        for job in (*self.jobs, *self.undisturbed):
            if job.error is not None:
                found.append(f"clip {job.reference.number} failed at {job.began_s:.0f} s: {job.error}")
        unequal = [job for job in self.compared if job.error is None and not self.equal(job)]
        if unequal:
            numbers = sorted(job.reference.number for job in unequal)
            found.append(f"clips {', '.join(map(str, numbers))} are not the undisturbed ones")
        if any(node_loss.how == "notice" and not node_loss.drained for node_loss in self.node_losses):
            found.append("the node with a notice was not drained before the cloud took it")
        for node_loss in self.node_losses:
            if not self.resumed(node_loss):
                found.append(f"nothing is shown of the {node_loss.how}: no clip lost its worker by it")
        if any(each.realtime_on_spot for each in self.placements):
            found.append("a real-time worker was on a spot node")
        return found
