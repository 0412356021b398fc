"""Generations that have ended, as figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from deployments.messages import QueueClass
from deployments.telemetry.metric import Recorder
from deployments.telemetry.metrics_catalogue import (
    AUDIO,
    GENERATIONS,
    LEASES_LOST,
    REAL_TIME_FACTOR,
    RESUMED,
    SLOT_WAIT,
)

EndedAs = Literal["made", "left", "refused", "given_up", "lease_lost", "failed"]


@dataclass(frozen=True)
class Ended:
    """What is to be told of one generation. audio_s: of music that was made of it here.

    num_resumed: times that another worker went on with it. waited_s: for its slot, and worked_s: from then to its end;
    None where it never had one.
    """

    model: str
    queue: QueueClass
    outcome: EndedAs
    audio_s: float
    num_resumed: int
    waited_s: float | None = None
    worked_s: float | None = None


def begin(recorder: Recorder, places: Iterable[tuple[str, QueueClass]]) -> None:
    """The series of what is rare: an alert sees the first of them. places: models and queue classes."""
    recorder.add(LEASES_LOST, 0, kind="generation")
    for model, queue in places:
        recorder.add(RESUMED, 0, model=model, queue=queue)
        recorder.add(GENERATIONS, 0, model=model, queue=queue, outcome="given_up")


def record_generation(recorder: Recorder, ended: Ended) -> None:
    recorder = recorder.labelled(model=ended.model, queue=ended.queue)
    recorder.add(GENERATIONS, outcome=ended.outcome)
    recorder.add(AUDIO, ended.audio_s)
    recorder.add(RESUMED, ended.num_resumed)
    if ended.waited_s is not None:
        recorder.observe(SLOT_WAIT, ended.waited_s)
    if ended.outcome == "made" and ended.worked_s:
        recorder.observe(REAL_TIME_FACTOR, ended.audio_s / ended.worked_s)
