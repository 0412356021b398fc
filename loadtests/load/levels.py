"""Figures from samples: what each level of users got, and which levels the service holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.load.samples import Sample
from loadtests.load.shapes import Phase, Shape
from loadtests.load.user_tasks import COMPOSE, FIRST_AUDIO, LONGEST_GAP

# Until the users of a level have come, and what they share the service with is of this level too.
SETTLE_S = 2.0
# Locust may meet a user just as it begins to ask, and cuts that off; nothing else that is cut off is so young.
_HUNG_MS = 1000.0


@dataclass(frozen=True)
class Level:
    """One phase. Requests count where they ended in it, latencies where they began in it; its first SETTLE_S don't.

    made_per_s: audio-seconds a second, without what came from the cache. waited: of each clip that was waited for,
    seconds for a second of music. failures: wrong answers, and those that never came.
    """

    phase: Phase
    requests_per_s: float
    made_per_s: float
    first_audio_ms: Sequence[float]
    longest_gap_ms: Sequence[float]
    waited: Sequence[float]
    refused: int
    failures: Sequence[str]

    def holds(self, bound_ms: float) -> bool:
        """Whether no request failed or was refused, and of the streams 95 % begin within the bound and 95 % never
        pause.
        """
        return (
            not self.failures
            and not self.refused
            and bool(self.first_audio_ms)
            and percentile(self.first_audio_ms, 95) <= bound_ms
            and percentile(self.longest_gap_ms, 95) == 0
        )


def levels(shape: Shape, samples: Sequence[Sample]) -> list[Level]:
    """One for each phase, in their order; what ended later than the last belongs to it."""
    return [_level(phase, phase is shape.phases[-1], samples) for phase in shape.phases]


def highest_level_held(levels: Sequence[Level], bound_ms: float) -> Level | None:
    """The level of most users up to which all hold; None where the lowest does not."""
    best: Level | None = None
    for level in sorted(levels, key=lambda level: level.phase.users):
        if not level.holds(bound_ms):
            break
        best = level
    return best


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all do not exceed (nearest rank); NaN of none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def never_ended(sample: Sample) -> bool:
    """Whether it had no end by the time that the run left it."""
    return sample.end == "cut off" and sample.ms >= _HUNG_MS


def _level(phase: Phase, is_last: bool, samples: Sequence[Sample]) -> Level:
    from_s = phase.from_s + SETTLE_S
    window_s = phase.until_s - from_s
    begun = [each for each in samples if phase.from_s <= each.at_s and (each.at_s < phase.until_s or is_last)]
    settled = [each for each in begun if each.at_s >= from_s and each.end == "right"]
    ended = [each for each in samples if from_s <= each.end_s < phase.until_s and each.end == "right"]
    return Level(
        phase=phase,
        requests_per_s=sum(each.method != "AUDIO" for each in ended) / window_s,
        made_per_s=sum(each.audio_s for each in ended if each.outcome == "miss") / window_s,
        first_audio_ms=[each.ms for each in settled if each.name == FIRST_AUDIO],
        longest_gap_ms=[each.ms for each in settled if each.name == LONGEST_GAP],
        waited=[each.ms / 1000 / each.audio_s for each in settled if each.name == COMPOSE],
        refused=sum(each.end == "refused" for each in begun),
        failures=[_told(each) for each in begun if each.end == "wrong" or never_ended(each)],
    )


def _told(sample: Sample) -> str:
    return f"{sample.method} {sample.name}: {sample.failure or 'no end of it came'}"
