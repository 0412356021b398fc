"""The events, and the clips that lost their worker, as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from loadtests.spot.evidence import Chapter, Evidence
from loadtests.spot.load import failed
from loadtests.spot.reference import Take

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


def table(evidence: Evidence) -> str:
    """A line for what was before, for each event, and for each clip that it moved."""
    first_s = evidence.chapters[0].at_s if evidence.chapters else float("inf")
    before = ("nothing yet", "-", "-", "-", "-", "-", "-", *_service(evidence, evidence.began_s, first_s))
    events = [_EVENTS, before, *(_event(evidence, chapter) for chapter in evidence.chapters)]
    return f"{_aligned(events)}\n\n{_aligned([_CLIPS, *_clips(evidence)])}"


def verdict(evidence: Evidence) -> str:
    """What is shown, in a sentence or some."""
    faults = evidence.faults()
    if faults:
        return "\n".join(faults)
    return (
        f"two spot nodes went and nothing is lost: none of {len(evidence.requests)} requests failed; all "
        f"{len(evidence.takes)} jobs of the demonstration finished, and {len(evidence.compared)} that had lost their "
        "worker are byte for byte the undisturbed clips; no real-time worker was on spot; "
        f"{evidence.num_refused} requests were put off (429)"
    )


def _event(evidence: Evidence, chapter: Chapter) -> tuple[str, ...]:
    return (
        _title(chapter),
        f"{chapter.at_s - evidence.began_s:.0f}",
        f"{chapter.gone_s - chapter.at_s:.1f}",
        f"{chapter.whole_s - chapter.at_s:.1f}",
        str(sum(map(chapter.covers, evidence.losses_s))),
        str(len(evidence.moved(chapter))),
        f"{evidence.longest_pause_s(chapter):.1f}",
        *_service(evidence, chapter.at_s, chapter.until_s),
    )


def _title(chapter: Chapter) -> str:
    if chapter.how == "kill":
        return "killed, no notice"
    return "notice, drained" if chapter.drained else "notice, NOT drained"


def _service(evidence: Evidence, from_s: float, until_s: float) -> tuple[str, str, str]:
    """What listeners had, and what requests came to that ended in this time."""
    ended = [each for each in evidence.requests if from_s <= each.end_s < until_s]
    gap_s = evidence.longest_gap_s(from_s, until_s)
    return f"{gap_s:.1f}", str(len(ended)), str(sum(map(failed, ended)))


def _clips(evidence: Evidence) -> list[tuple[str, ...]]:
    """Of those that lost their worker, in the order of the events."""
    return [
        (
            str(take.reference.number),
            chapter.how,
            ", ".join(str(take.lost_at[i]) for i in _lost_in(take, chapter)),
            ", ".join(f"{take.pause_s(take.lost_s[i]):.1f}" for i in _lost_in(take, chapter)),
            str(take.size_bytes),
            take.sha256[:_DIGITS],
            "yes" if evidence.equal(take) else "NO",
        )
        for chapter in evidence.chapters
        for take in evidence.moved(chapter)
    ]


def _lost_in(take: Take, chapter: Chapter) -> list[int]:
    return [i for i, lost_s in enumerate(take.lost_s) if chapter.covers(lost_s)]


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
