"""What became of each clip while workers were killed, beside the undisturbed one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.demo.clip import ClipRun

_DIGITS = 12
_HEAD = ("clip", "way", "bytes", "sha256", "equal", "lost its worker at frame", "longest wait, s: undisturbed | killed")


@dataclass(frozen=True)
class Comparison:
    """A clip, undisturbed and in rounds with a kill. lost_at: in each round, at which frames it lost its worker."""

    undisturbed: ClipRun
    killed: Sequence[ClipRun]
    lost_at: Sequence[Sequence[int]]

    @property
    def equal(self) -> bool:
        """Whether all are whole, and the same to the last byte."""
        clips = (self.undisturbed, *self.killed)
        return all(clip.whole for clip in clips) and len({clip.sha256 for clip in clips}) == 1

    @property
    def lost_worker(self) -> bool:
        """Whether it lost a worker at least once."""
        return any(self.lost_at)

    def row(self) -> tuple[str, ...]:
        clip = self.undisturbed
        return (
            str(clip.request.number),
            clip.request.way,
            str(len(clip.wav)),
            clip.sha256[:_DIGITS],
            "yes" if self.equal else "NO",
            " | ".join(", ".join(map(str, frames)) or "-" for frames in self.lost_at),
            " | ".join(f"{each.longest_wait_s:.2f}" for each in (clip, *self.killed)),
        )


def table(comparisons: Sequence[Comparison]) -> str:
    """A line for each clip, and one for each that failed."""
    rows = [_HEAD, *(each.row() for each in comparisons)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for each in comparisons:
        for clip in (each.undisturbed, *each.killed):
            if clip.error is not None:
                lines.append(f"clip {clip.request.number} failed: {clip.error}")
    return "\n".join(lines)


def verdict(comparisons: Sequence[Comparison]) -> str:
    """What is shown, in one sentence."""
    num, equal, lost_worker = (
        len(comparisons),
        sum(each.equal for each in comparisons),
        sum(each.lost_worker for each in comparisons),
    )
    if equal < num:
        return f"only {equal} of {num} clips are byte for byte the undisturbed ones in each round"
    if not lost_worker:
        return "nothing is shown: every kill came when all codes were made"
    return (
        f"no work is lost: {lost_worker} of {num} clips lost a worker, and all are byte for byte the undisturbed ones"
    )
