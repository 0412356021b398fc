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
    "The replica was suspended for so long that others may have taken its requests over.",
)
ENGINE_REFUSED = LogEvent(
    "engine_refused",
    WARNING,
    "generation %(generation)s: %(reason)s",
    "The engine accepted a request, and had no memory for it when its turn came.",
)
ENGINE_BROKE = LogEvent(
    "engine_broke",
    CRITICAL,
    "the engine broke, and this replica ends with it",
    "Serve starts another replica; what was under way is resumed on others.",
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
