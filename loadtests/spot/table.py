"""A table of the node losses, and of the clips that lost their worker."""

from __future__ import annotations

from collections.abc import Sequence

from loadtests.spot.load import failed
from loadtests.spot.observations import NodeLoss, Observations
from loadtests.spot.reference_jobs import JobRun

_DIGITS = 12
_EVENTS = (
    "event",
    "at, s",
    "gone after, s",
    "workers again after, s",
    "generations moved",
    "clips below moved",
    "their longest pause, s",
    "listeners' longest gap, s",
    "requests",
    "failed",
)
_CLIPS = ("clip", "lost its worker to the", "at frame", "paused, s", "bytes", "sha256", "equal")


def table(observations: Observations) -> str:
    """A line for what was before, for each event, and for each clip that it moved."""
    first_s = observations.node_losses[0].at_s if observations.node_losses else float("inf")
    before = ("nothing yet", "-", "-", "-", "-", "-", "-", *_service(observations, observations.began_s, first_s))
    events = [_EVENTS, before, *(_event(observations, node_loss) for node_loss in observations.node_losses)]
    return f"{_aligned(events)}\n\n{_aligned([_CLIPS, *_clips(observations)])}"


def verdict(observations: Observations) -> str:
    """What is shown, in a sentence or some."""
    faults = observations.faults()
    if faults:
        return "\n".join(faults)
    return (
        f"two spot nodes went and nothing is lost: none of {len(observations.requests)} requests failed; all "
        f"{len(observations.jobs)} jobs of the demonstration finished, and {len(observations.compared)} that had lost "
        "their worker are byte for byte the undisturbed clips; no real-time worker was on spot; "
        f"{observations.num_refused} requests were put off (429)"
    )


def _event(observations: Observations, node_loss: NodeLoss) -> tuple[str, ...]:
    return (
        _title(node_loss),
        f"{node_loss.at_s - observations.began_s:.0f}",
        f"{node_loss.gone_s - node_loss.at_s:.1f}",
        f"{node_loss.whole_s - node_loss.at_s:.1f}",
        str(sum(map(node_loss.covers, observations.losses_s))),
        str(len(observations.resumed(node_loss))),
        f"{observations.longest_pause_s(node_loss):.1f}",
        *_service(observations, node_loss.at_s, node_loss.until_s),
    )


def _title(node_loss: NodeLoss) -> str:
    if node_loss.how == "kill":
        return "killed, no notice"
    return "notice, drained" if node_loss.drained else "notice, NOT drained"


def _service(observations: Observations, from_s: float, until_s: float) -> tuple[str, str, str]:
    """What listeners had, and what requests came to that ended in this time."""
    ended = [each for each in observations.requests if from_s <= each.end_s < until_s]
    gap_s = observations.longest_gap_s(from_s, until_s)
    return f"{gap_s:.1f}", str(len(ended)), str(sum(map(failed, ended)))


def _clips(observations: Observations) -> list[tuple[str, ...]]:
    """Of those that lost their worker, in the order of the events."""
    return [
        (
            str(job.reference.number),
            node_loss.how,
            ", ".join(str(job.lost_at[i]) for i in _lost_in(job, node_loss)),
            ", ".join(f"{job.pause_s(job.lost_s[i]):.1f}" for i in _lost_in(job, node_loss)),
            str(job.size_bytes),
            job.sha256[:_DIGITS],
            "yes" if observations.equal(job) else "NO",
        )
        for node_loss in observations.node_losses
        for job in observations.resumed(node_loss)
    ]


def _lost_in(job: JobRun, node_loss: NodeLoss) -> list[int]:
    return [i for i, lost_s in enumerate(job.lost_s) if node_loss.covers(lost_s)]


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
