"""What a simulated pool comes to, in figures."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from loadtests.simulation.pool import Outcome

PERCENTILES = (50, 95, 99)


def figures(outcome: Outcome, full_audio_s_per_s: float, wait_s: float) -> dict[str, float]:
    """late: the share that waited longer than wait_s. utilisation: of what the replicas that were up could make. lost:
    the share of what was made that was made twice. Costs are in the unit of the prices.
    """
    waits_s = outcome.waits_s if len(outcome.waits_s) else np.zeros(1)
    target = outcome.course.target
    return {
        "generations": outcome.num_arrived,
        "audio_hours": _round(outcome.ended_audio_s / 3600),
        "cost": _round(outcome.cost),
        "cost_per_audio_hour": cost_per_audio_hour([outcome]),
        **{f"wait_p{each}_s": _round(float(np.percentile(waits_s, each))) for each in PERCENTILES},
        "wait_mean_s": _round(float(waits_s.mean())),
        "late": _round(float(np.mean(waits_s > wait_s))),
        "utilisation": _round(outcome.made_audio_s / (outcome.up_s * full_audio_s_per_s) if outcome.up_s else 0.0),
        "lost": _round(outcome.lost_audio_s / outcome.made_audio_s if outcome.made_audio_s else 0.0),
        "moved": outcome.moved,
        "preemptions": outcome.preemptions,
        "turns": outcome.course.turns,
        "replicas_least": int(target.min()),
        "replicas_mean": _round(float(target.mean())),
        "replicas_most": int(target.max()),
    }


def cost_per_audio_hour(outcomes: Iterable[Outcome]) -> float:
    """Of several pools together."""
    pools = list(outcomes)
    audio_s = sum(pool.ended_audio_s for pool in pools)
    return _round(sum(pool.cost for pool in pools) / (audio_s / 3600)) if audio_s else 0.0


def _round(number: float) -> float:
    return float(f"{number:.6g}")
