"""Every metric of the service: the one list, which documents, rules, panels and whoever records are checked against.

Labels and their values, none of which a client can make up:
    route     a path's template, as /v1/generations/{id}; `none` for a path that there is not
    model     the name of one of the models on offer; `none` where a request named none, or none that there is
    queue     the class of who asks: realtime | batch
    pool      the engines of a class: realtime | batch; without a pool of its own, batch is made by realtime's
    cache     where codes came from: hit | cut | extended | joined | miss, and `file`: a finished one was kept
    stage     text_encoder | language_model | codec_decoder
    store     cache | leases | jobs
    market    of a node, its label ray.io/market-type: spot | on-demand; `none` without
"""

from __future__ import annotations

from deployments.telemetry.metric import Metric

# From a kept file's answer to the longest clip's on a slow machine.
_DURATIONS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_FIRST_AUDIO_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
_WAITS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_FACTORS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 50.0)
_BATCHES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0, 128.0, 256.0)
_SHARES = (0.0001, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.999)

REQUESTS = Metric(
    "musicgen_requests_total",
    "counter",
    "Requests that have ended. outcome: ok; left: the client hung up; broken: the answer began and broke off; "
    "else the type of the error, as the answer's body has it.",
    "requests",
    ("route", "model", "outcome"),
)
REQUEST_DURATION = Metric(
    "musicgen_request_duration_seconds",
    "histogram",
    "From a request's coming to the end of its answer, of those that ended ok.",
    "seconds",
    ("route",),
    _DURATIONS_S,
)
FIRST_AUDIO = Metric(
    "musicgen_time_to_first_audio_seconds",
    "histogram",
    "From a request's coming to the first sound that is sent, of streams.",
    "seconds",
    ("model", "cache"),
    _FIRST_AUDIO_S,
)

AUDIO = Metric(
    "musicgen_audio_seconds_total",
    "counter",
    "Music made, as codes, wanted to the end or not.",
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
GENERATIONS_WAITING = Metric(
    "musicgen_generations_waiting",
    "gauge",
    "Generations that no engine has taken in yet: all are full, or none is up.",
    "generations",
    ("model", "queue"),
)
SLOT_WAIT = Metric(
    "musicgen_slot_wait_seconds",
    "histogram",
    "From a generation's beginning to its slot; those who left before are not in it.",
    "seconds",
    ("model", "queue"),
    _WAITS_S,
)
BATCH_SIZE = Metric(
    "musicgen_batch_size",
    "histogram",
    "What is worked on at once: prompts, generations in a step (looked at once a second), windows of codes.",
    "items",
    ("model", "stage"),
    _BATCHES,
)
GENERATIONS = Metric(
    "musicgen_generations_total",
    "counter",
    "Generations that have ended. outcome: made; left: nobody wanted it any more; refused: no engine had room; "
    "given_up: it lost too many workers; lease_lost: it goes on elsewhere; failed.",
    "generations",
    ("model", "queue", "outcome"),
)
RESUMED = Metric(
    "musicgen_generations_resumed_total",
    "counter",
    "Times that a generation lost its worker, and another one went on with it.",
    "times",
    ("model", "queue"),
)

CACHE_ANSWERS = Metric(
    "musicgen_cache_answers_total",
    "counter",
    "Where the music came from that was asked for with the cache in use or refreshed.",
    "requests",
    ("model", "cache"),
)
STORE_FAULTS = Metric(
    "musicgen_store_faults_total",
    "counter",
    "Calls of a store that failed. kind: what was asked, and how it failed: read timeout, lease take unreachable.",
    "calls",
    ("store", "kind"),
)
STORE_LEFT_OUT = Metric(
    "musicgen_store_left_out_total",
    "counter",
    "Calls that were not made, because the store is known to be down.",
    "calls",
    ("store",),
)
LEASES_LOST = Metric(
    "musicgen_leases_lost_total",
    "counter",
    "Leases that another had taken while their holder worked. kind: generation | job.",
    "leases",
    ("kind",),
)

JOBS_WAITING = Metric(
    "musicgen_jobs_waiting",
    "gauge",
    "Variations of jobs in the records that nobody has begun.",
    "variations",
    ("model", "queue"),
    across="max",
)
JOBS_WAITING_AUDIO = Metric(
    "musicgen_jobs_waiting_audio_seconds",
    "gauge",
    "Music that those variations ask for, together.",
    "seconds of music",
    ("model", "queue"),
    across="max",
)
JOBS_UNDER_WAY = Metric(
    "musicgen_jobs_under_way", "gauge", "Variations of jobs that are being made.", "variations", ("queue",)
)
JOB_ATTEMPTS = Metric(
    "musicgen_job_attempts_total",
    "counter",
    "Attempts at a job's variation that have ended. outcome: made; put_off: it is tried again; begun_again: from its "
    "first frame; failed: for good; lost: another has it, or it was cancelled.",
    "attempts",
    ("queue", "outcome"),
)

CLIPS = Metric("musicgen_clips_total", "counter", "Clips that were made, and listened to.", "clips", ("model",))
CLIPS_COLLAPSED = Metric(
    "musicgen_clips_collapsed_total",
    "counter",
    "Clips that were made and are silent, or stuck at their end.",
    "clips",
    ("model",),
)
CLIP_SILENCE = Metric(
    "musicgen_clip_silent_share",
    "histogram",
    "Of each clip made, the part that is silent.",
    "ratio",
    ("model",),
    _SHARES,
)
CLIP_CLIPPING = Metric(
    "musicgen_clip_clipped_share",
    "histogram",
    "Of each clip made, the part of its samples that are clipped.",
    "ratio",
    ("model",),
    _SHARES,
)
CLIP_FLATNESS = Metric(
    "musicgen_clip_flatness",
    "histogram",
    "Of each clip made that sounds, its spectral flatness: 1 is white noise.",
    "ratio",
    ("model",),
    _SHARES,
)
CLIP_HARMONICITY = Metric(
    "musicgen_clip_harmonicity",
    "histogram",
    "Of each clip made that sounds, how periodic it is: 1 is a tone.",
    "ratio",
    ("model",),
    _SHARES,
)

MODELS = Metric(
    "musicgen_models",
    "gauge",
    "1 for each model that is served, with or without an engine now.",
    "models",
    ("model",),
    across="max",
)
NODES = Metric("musicgen_nodes", "gauge", "Nodes of the cluster that are alive.", "nodes", ("market",), across="max")
NODES_ENDED = Metric(
    "musicgen_nodes_ended",
    "gauge",
    "Nodes that are gone, as far as Ray remembers them. reason: preempted, after a notice; lost, without; idle: the "
    "autoscaler ended it; ended: any other way.",
    "nodes",
    ("market", "reason"),
    across="max",
)
SCRAPED_NODES = Metric(
    "musicgen_scraped_nodes",
    "gauge",
    "Nodes asked for their figures by GET /metrics, which alone has this one. state: answered | missing.",
    "nodes",
    ("state",),
    across="max",
)

METRICS: tuple[Metric, ...] = tuple(each for each in globals().values() if isinstance(each, Metric))
BY_NAME = {metric.name: metric for metric in METRICS}
