"""The pipeline's metrics and log events, and the figures of a generation that has ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from logging import ERROR, WARNING
from typing import Literal

from deployments.messages import QueueClass
from deployments.telemetry.log_event import LogEvent
from deployments.telemetry.metric import Metric, Recorder
from serve_app.database.leases import LEASES_LOST

_WAITS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_FACTORS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 50.0)

ENCODER_SILENT = LogEvent(
    "encoder_silent",
    WARNING,
    "generation %(generation).16s: no text encoder answered in %(patience_s)g s",
    "The text encoders are unresponsive.",
)
WORKER_LOST = LogEvent(
    "worker_lost",
    WARNING,
    "generation %(generation).16s lost its worker at frame %(frame)d (%(cause)s); another resumes it",
    "A replica of a language model crashed, or its node was lost; no work is lost.",
)
GENERATION_GIVEN_UP = LogEvent(
    "generation_given_up",
    ERROR,
    "generation %(generation).16s lost %(num_lost)d workers and is given up",
    "The request seems to kill workers; it is refused for a while.",
)
GENERATION_LEASE_LOST = LogEvent(
    "generation_lease_lost",
    WARNING,
    "generation %(generation).16s: its lease is lost; another replica resumes it",
    "The pipeline replica was unresponsive for longer than its lease.",
)
CODEC_SILENT = LogEvent(
    "codec_silent",
    WARNING,
    "no codec replica has decoded a window in %(patience_s)g s; it is retried",
    "The codec decoders are unresponsive.",
)
CODEC_LOST = LogEvent(
    "codec_lost",
    WARNING,
    "a codec replica was lost (%(cause)s); its window is retried on another",
    "A replica of a codec decoder crashed.",
)
IDENTITY_LOST = LogEvent(
    "identity_lost",
    WARNING,
    "a language-model replica was lost when its identity was requested; it is retried on another",
    "A replica of a language model crashed.",
)
AUDIO = Metric(
    "musicgen_audio_seconds_total",
    "counter",
    "Music made, as codes, whether or not it was wanted to the end.",
    "seconds of music",
    ("model", "queue"),
)
REAL_TIME_FACTOR = Metric(
    "musicgen_real_time_factor",
    "histogram",
    "Seconds of music made in a second, of each generation from its slot to its end; below 1 a listener waits.",
    "ratio",
    ("model", "queue"),
    _FACTORS,
)
GENERATIONS_WAITING = Metric(
    "musicgen_generations_waiting",
    "gauge",
    "Generations that no engine has accepted yet: all are full, or none is up.",
    "generations",
    ("model", "queue"),
)
SLOT_WAIT = Metric(
    "musicgen_slot_wait_seconds",
    "histogram",
    "From a generation's start to its slot; generations that ended before are not counted.",
    "seconds",
    ("model", "queue"),
    _WAITS_S,
)
GENERATIONS = Metric(
    "musicgen_generations_total",
    "counter",
    "Generations that have ended. outcome: made; left: no subscriber was left; refused: no engine had room; "
    "given_up: it lost too many workers; lease_lost: another replica resumes it; failed.",
    "generations",
    ("model", "queue", "outcome"),
)
RESUMED = Metric(
    "musicgen_generations_resumed_total",
    "counter",
    "Times that a generation lost its worker and another one resumed it.",
    "times",
    ("model", "queue"),
)
CACHE_ANSWERS = Metric(
    "musicgen_cache_answers_total",
    "counter",
    "Where the music came from, for requests that use or refresh the cache.",
    "requests",
    ("model", "cache"),
)


GenerationOutcome = Literal["made", "left", "refused", "given_up", "lease_lost", "failed"]


@dataclass(frozen=True)
class EndedGeneration:
    """The figures of one generation.

    audio_s: seconds of music made of it here. num_resumed: how often another worker resumed it. waited_s: until it had
    a slot, and worked_s: from then to its end; both None where it never had one.
    """

    model: str
    queue: QueueClass
    outcome: GenerationOutcome
    audio_s: float
    num_resumed: int
    waited_s: float | None = None
    worked_s: float | None = None


def start_series(recorder: Recorder, places: Iterable[tuple[str, QueueClass]]) -> None:
    """Starts the series of rare events at 0, so that an alert sees the first one. places: models and queue classes."""
    recorder.add(LEASES_LOST, 0, kind="generation")
    for model, queue in places:
        recorder.add(RESUMED, 0, model=model, queue=queue)
        recorder.add(GENERATIONS, 0, model=model, queue=queue, outcome="given_up")


def record_generation(recorder: Recorder, ended: EndedGeneration) -> None:
    """Counts a generation that has ended."""
    recorder = recorder.labelled(model=ended.model, queue=ended.queue)
    recorder.add(GENERATIONS, outcome=ended.outcome)
    recorder.add(AUDIO, ended.audio_s)
    recorder.add(RESUMED, ended.num_resumed)
    if ended.waited_s is not None:
        recorder.observe(SLOT_WAIT, ended.waited_s)
    if ended.outcome == "made" and ended.worked_s:
        recorder.observe(REAL_TIME_FACTOR, ended.audio_s / ended.worked_s)
