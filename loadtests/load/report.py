"""The report of a run: a table and a verdict for people, figures for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from loadtests.load.levels import Level, highest_level_held, percentile

_HEAD = (
    "users",
    "requests/s",
    "audio-s/s made",
    "first audio, ms: p50",
    "p95",
    "p99",
    "paused, %",
    "waited, s/s: p95",
    "refused",
    "failed",
    "holds",
)
_MAX_FAILURES = 5


def table(levels: Sequence[Level], bound_ms: float) -> str:
    """A line for each level, and the most frequent failures."""
    rows = [_HEAD, *(_row(level, bound_ms) for level in levels)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    failures = Counter(failure for level in levels for failure in level.failures)
    lines += [f"failed {times} times: {failure}" for failure, times in failures.most_common(_MAX_FAILURES)]
    return "\n".join(lines)


def verdict(levels: Sequence[Level], bound_ms: float) -> str:
    """What the machine holds, and where it saturates, in two sentences with the rule."""
    rule = (
        f"A level holds where no request fails or is refused, 95 % of the streams begin within {bound_ms:g} ms, and "
        "95 % of them never pause."
    )
    best = highest_level_held(levels, bound_ms)
    if best is None:
        return f"{rule} No level holds."
    more = [level.phase.users for level in levels if level.phase.users > best.phase.users]
    top = f"it saturates before {min(more)}" if more else "it is not saturated by that"
    return (
        f"{rule} This machine holds {best.phase.users} users, {best.requests_per_s:.1f} requests a second and "
        f"{best.made_per_s:.1f} seconds of new music a second; {top}."
    )


def figures(levels: Sequence[Level], bound_ms: float) -> Mapping[str, object]:
    """The same for the last line."""
    best = highest_level_held(levels, bound_ms)
    return {
        "bound_ms": bound_ms,
        "held_users": None if best is None else best.phase.users,
        "held_requests_per_s": None if best is None else round(best.requests_per_s, 2),
        "held_audio_s_per_s": None if best is None else round(best.made_per_s, 2),
        "most_audio_s_per_s": round(max(level.made_per_s for level in levels), 2),
        "refused": sum(level.refused for level in levels),
        "failures": sum(len(level.failures) for level in levels),
        "levels": [_figures(level) for level in levels],
    }


def _figures(level: Level) -> Mapping[str, object]:
    return {
        "users": level.phase.users,
        "requests_per_s": round(level.requests_per_s, 2),
        "audio_s_per_s": round(level.made_per_s, 2),
        "first_audio_ms": {f"p{each}": _rounded(percentile(level.first_audio_ms, each)) for each in (50, 95, 99)},
        "streams": len(level.first_audio_ms),
        "paused": sum(gap_ms > 0 for gap_ms in level.longest_gap_ms),
        "refused": level.refused,
        "failures": len(level.failures),
    }


def _row(level: Level, bound_ms: float) -> tuple[str, ...]:
    streams = len(level.longest_gap_ms)
    paused = sum(gap_ms > 0 for gap_ms in level.longest_gap_ms)
    return (
        str(level.phase.users),
        f"{level.requests_per_s:.1f}",
        f"{level.made_per_s:.1f}",
        *(f"{percentile(level.first_audio_ms, each):.0f}" for each in (50, 95, 99)),
        f"{100 * paused / streams:.0f}" if streams else "-",
        f"{percentile(level.waited, 95):.2f}",
        str(level.refused),
        str(len(level.failures)),
        "yes" if level.holds(bound_ms) else "no",
    )


def _rounded(value: float) -> float | None:
    """None for NaN, which JSON does not have."""
    return None if value != value else round(value, 1)
