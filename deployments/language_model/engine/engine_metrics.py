"""Log events and metrics of the engine."""

from __future__ import annotations

from logging import CRITICAL, INFO, WARNING

from deployments.telemetry.log_event import LogEvent
from deployments.telemetry.metric import Metric

ENGINE_READY = LogEvent(
    "engine_ready", INFO, "%(source)s is ready after %(seconds).1f s: %(where)s", "A language model is loaded and warm."
)
ENGINE_LAPSED = LogEvent(
    "engine_lapsed",
    WARNING,
    "no sign of life for more than %(lease_s)g s: %(load)s is given up",
    "The replica was held up for so long that others may have taken its generations over.",
)
ENGINE_REFUSED = LogEvent(
    "engine_refused",
    WARNING,
    "generation %(generation)s: %(reason)s",
    "The engine took a request in, and had no room for it after all.",
)
ENGINE_BROKE = LogEvent(
    "engine_broke",
    CRITICAL,
    "the engine broke, and this replica ends with it",
    "Serve starts another; what was under way goes on elsewhere.",
)
SLOTS = Metric("musicgen_slots", "gauge", "Slots of engines that are up.", "slots", ("model", "pool"))
SLOTS_IN_USE = Metric(
    "musicgen_slots_in_use", "gauge", "Slots in which a generation is made.", "slots", ("model", "pool")
)
ENGINE_WAITING = Metric(
    "musicgen_engine_waiting",
    "gauge",
    "Generations that wait in an engine for a slot.",
    "generations",
    ("model", "pool"),
)
