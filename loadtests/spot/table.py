"""The events and the clips as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from loadtests.spot.evidence import Chapter, Evidence
from loadtests.spot.load import failed

TITLES = {"notice": "notice, drained", "kill": "killed, no notice"}
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
_CLIPS = ("clip", "bytes", "sha256", "made", "compared", "equal", "lost its worker at frame: by notice | by kill")


def table(evidence: Evidence) -> str:
    """A line for what was before, for each event and for each clip."""
    first_s = evidence.chapters[0].at_s if evidence.chapters else float("inf")
    before = ("nothing yet", "-", "-", "-", "-", "-", "-", *_service(evidence, evidence.began_s, first_s))
    events = [_EVENTS, before, *(_event(evidence, chapter) for chapter in evidence.chapters)]
    return f"{_aligned(events)}\n\n{_aligned([_CLIPS, *_clips(evidence)])}"


def verdict(evidence: Evidence) -> str:
    """What is shown, in a sentence or some."""
    faults = evidence.faults()
    if faults:
        return "\n".join(faults)
    moved = {id(take) for chapter in evidence.chapters for take in evidence.moved(chapter)}
    return (
        f"two spot nodes went and nothing is lost: none of {len(evidence.requests)} requests failed; all "
        f"{len(evidence.takes)} jobs finished, and {len(evidence.compared)} of them, {len(moved)} of which had lost "
        "their worker, are byte for byte the undisturbed clips; no real-time worker was on spot; "
        f"{evidence.num_refused} requests were put off (429)"
    )


def _event(evidence: Evidence, chapter: Chapter) -> tuple[str, ...]:
    return (
        TITLES[chapter.how],
        f"{chapter.at_s - evidence.began_s:.0f}",
        f"{chapter.gone_s - chapter.at_s:.1f}",
        f"{chapter.whole_s - chapter.at_s:.1f}",
        str(sum(map(chapter.covers, evidence.losses_s))),
        str(len(evidence.moved(chapter))),
        f"{evidence.longest_pause_s(chapter):.1f}",
        *_service(evidence, chapter.at_s, chapter.until_s),
    )


def _service(evidence: Evidence, from_s: float, until_s: float) -> tuple[str, str, str]:
    """What listeners had, and what requests came to that ended in this time."""
    ended = [each for each in evidence.requests if from_s <= each.end_s < until_s]
    gap_s = evidence.longest_gap_s(from_s, until_s)
    return f"{gap_s:.1f}", str(len(ended)), str(sum(map(failed, ended)))


def _clips(evidence: Evidence) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for undisturbed in evidence.undisturbed:
        number = undisturbed.reference.number
        takes = [take for take in evidence.takes if take.reference.number == number]
        compared = [take for take in evidence.compared if take.reference.number == number]
        lost = [
            [
                str(frame)
                for take in takes
                for at_s, frame in zip(take.lost_s, take.lost_at, strict=True)
                if chapter.covers(at_s)
            ]
            for chapter in evidence.chapters
        ]
        rows.append(
            (
                str(number),
                str(undisturbed.size_bytes),
                undisturbed.sha256[:_DIGITS],
                str(1 + len(takes)),
                str(len(compared)),
                "yes" if all(map(evidence.equal, compared)) else "NO",
                " | ".join(", ".join(frames) or "-" for frames in lost),
            )
        )
    return rows


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
