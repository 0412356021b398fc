"""What a demonstration might have seen."""

from __future__ import annotations

from dataclasses import replace

from loadtests.fleet.node_kinds import ON_DEMAND, SPOT
from loadtests.load.samples import Sample
from loadtests.spot.observations import NodeLoss, Observations
from loadtests.spot.placement import BATCH, REALTIME, Placement
from loadtests.spot.reference_jobs import JobRun, Reference

DIGEST = "ab" * 32
NOTICE = NodeLoss("notice", 20.0, 45.0, 32.0, 60.0, drained=True)


def reference(number: int) -> Reference:
    return Reference(number, "a waltz", number, 1000)


def job(number: int, began_s: float, ended_s: float, *lost_s: float, sha256: str = DIGEST) -> JobRun:
    """Made evenly, and for a second not at all where it lost its worker."""
    took_s = ended_s - began_s
    times = [began_s + took_s * i / 4 for i in range(5)]
    made = [0.0, 0.25, 0.5, 0.75, 1.0]
    return JobRun(
        reference(number), began_s, ended_s, f"{number:016x}", times, made, list(lost_s), [7] * len(lost_s), 3, sha256
    )


def sample(at_s: float, ms: float, name: str = "compose", method: str = "POST", **more: object) -> Sample:
    return replace(Sample(method, name, at_s, ms, audio_s=4.0), **more)  # type: ignore[arg-type]


def observations(**other: object) -> Observations:
    """Of a demonstration in which all is well; times from 10 s on."""
    seen = [Placement(10.0 + i, {(REALTIME, ON_DEMAND): 1, (BATCH, SPOT): 2}, frozenset("ab"), 0) for i in range(90)]
    samples = [sample(10.0 + i, 1500.0) for i in range(80)]
    samples += [sample(30.0, 0.0, "longest gap", "AUDIO"), sample(62.0, 250.0, "longest gap", "AUDIO")]
    found = Observations(
        began_s=10.0,
        node_losses=[NOTICE, NodeLoss("kill", 60.0, 60.1, 66.5, 90.0, drained=False)],
        samples=samples,
        losses_s=[31.0, 31.5, 64.0],
        jobs=[job(1, 20.0, 40.0, 31.0), job(2, 30.0, 34.0, sha256=""), job(3, 58.0, 78.0, 64.0)],
        undisturbed=[job(1, 95.0, 99.0), job(3, 95.0, 99.0)],
        placements=seen,
    )
    return replace(found, **other)  # type: ignore[arg-type]
