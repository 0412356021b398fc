"""All log events and metrics of the service, collected from the packages that declare them.

Names, fields and labels are a contract: those that there are stay as they are.
"""

from __future__ import annotations

from deployments.batching import BATCH_FAILED, BATCH_SIZE
from deployments.language_model.engine import (
    ENGINE_BROKE,
    ENGINE_LAPSED,
    ENGINE_READY,
    ENGINE_REFUSED,
    ENGINE_WAITING,
    SLOTS,
    SLOTS_IN_USE,
)
from deployments.liveness.caller_watch import CALLER_GONE, CALLER_UNSEEN
from deployments.telemetry.log_event import LogEvent
from deployments.telemetry.metric import Metric
from serve_app.auth.gate import LIMITS
from serve_app.database.leases import LEASES_LOST
from serve_app.faults import STORE_FAULT, STORE_FAULTS, STORE_LEFT_OUT
from serve_app.jobs import (
    JOB_ATTEMPTS,
    JOB_BEGUN,
    JOB_BEGUN_AGAIN,
    JOB_BROKE,
    JOB_FAILED,
    JOB_LOST,
    JOB_MADE,
    JOB_PUT_OFF,
    JOB_TAKEN_OVER,
    JOB_UNHEARD,
    JOBS_UNDER_WAY,
    JOBS_WAITING,
    JOBS_WAITING_AUDIO,
)
from serve_app.pipeline.generation_metrics import (
    AUDIO,
    CACHE_ANSWERS,
    CODEC_LOST,
    CODEC_SILENT,
    ENCODER_SILENT,
    GENERATION_GIVEN_UP,
    GENERATION_LEASE_LOST,
    GENERATIONS,
    GENERATIONS_WAITING,
    IDENTITY_LOST,
    REAL_TIME_FACTOR,
    RESUMED,
    SLOT_WAIT,
    WORKER_LOST,
)
from serve_app.sound.health_reports import (
    CLIP_CLIPPING,
    CLIP_COLLAPSED,
    CLIP_FLATNESS,
    CLIP_HARMONICITY,
    CLIP_SILENCE,
    CLIPS,
    CLIPS_COLLAPSED,
)
from serve_app.sound.resuming import PIPELINE_LOST, PIPELINE_SILENT
from serve_app.telemetry.service_metrics import (
    FIRST_AUDIO,
    MODELS,
    NODES,
    NODES_ENDED,
    REQUEST,
    REQUEST_DURATION,
    REQUESTS,
    SCRAPED_NODES,
    SPOOL_FAILED,
    UNEXPECTED_EXCEPTION,
)

EVENTS: tuple[LogEvent, ...] = (
    REQUEST,
    UNEXPECTED_EXCEPTION,
    SPOOL_FAILED,
    LIMITS,
    STORE_FAULT,
    PIPELINE_SILENT,
    PIPELINE_LOST,
    ENCODER_SILENT,
    WORKER_LOST,
    GENERATION_GIVEN_UP,
    GENERATION_LEASE_LOST,
    CODEC_SILENT,
    CODEC_LOST,
    IDENTITY_LOST,
    CLIP_COLLAPSED,
    JOB_BEGUN,
    JOB_MADE,
    JOB_PUT_OFF,
    JOB_FAILED,
    JOB_BEGUN_AGAIN,
    JOB_LOST,
    JOB_TAKEN_OVER,
    JOB_UNHEARD,
    JOB_BROKE,
    ENGINE_READY,
    ENGINE_LAPSED,
    ENGINE_REFUSED,
    ENGINE_BROKE,
    BATCH_FAILED,
    CALLER_GONE,
    CALLER_UNSEEN,
)
METRICS: tuple[Metric, ...] = (
    REQUESTS,
    REQUEST_DURATION,
    FIRST_AUDIO,
    AUDIO,
    REAL_TIME_FACTOR,
    SLOTS,
    SLOTS_IN_USE,
    ENGINE_WAITING,
    GENERATIONS_WAITING,
    SLOT_WAIT,
    BATCH_SIZE,
    GENERATIONS,
    RESUMED,
    CACHE_ANSWERS,
    STORE_FAULTS,
    STORE_LEFT_OUT,
    LEASES_LOST,
    JOBS_WAITING,
    JOBS_WAITING_AUDIO,
    JOBS_UNDER_WAY,
    JOB_ATTEMPTS,
    CLIPS,
    CLIPS_COLLAPSED,
    CLIP_SILENCE,
    CLIP_CLIPPING,
    CLIP_FLATNESS,
    CLIP_HARMONICITY,
    MODELS,
    NODES,
    NODES_ENDED,
    SCRAPED_NODES,
)
BY_NAME = {metric.name: metric for metric in METRICS}

# Of the log's events. None has a client's words in it; null where there is none.
EVENT_FIELDS = {
    "request_id": "the answer's X-Request-Id: the client's own where it is fit for a log, else drawn",
    "generation": "32 hexadecimal digits: X-Generation-Id, a variation's music_id; in a `request` about a job, its id",
    "job": "32 hexadecimal digits, the id of a generation at /v1/generations",
    "variation": "which of the job's variations, from 0",
    "model": "the name of one of the models on offer; `none` where a request named none, or none that there is",
    "method": "of HTTP; `other` for one that there is not",
    "route": "a path's template, as /v1/generations/{id}; `none` for a path that there is not",
    "status": "of the answer; 499: the client hung up before it began",
    "seconds": "what it took",
    "cause": "the kind of an error",
    "reason": "an error's own sentence",
    "frame": "how many frames were made by then, 50 a second; nothing of them is lost",
    "num_frames": "that are to be made",
    "num_lost": "workers, one after the other",
    "patience_s": "how long nobody answered",
    "lease_s": "how long a replica may be silent before others take over what it makes",
    "delay_s": "until the next attempt",
    "attempt": "of a job's variation, from 1; another process's taking it over is one, too",
    "silent_share": "of the clip, from 0 to 1",
    "of": "who has the fault: store (of the cache, the leases or the jobs) | access",
    "kind": "of the fault",
    "detail": "what the store said of it",
    "since": "how many of the kind there were since it was last told, this one included",
    "how": "which limits are set, and who counts",
    "source": "the checkpoint's name or folder",
    "where": "on which device, in which numerics and memory",
    "load": "the engine's slots and queue",
    "stage": "whose batch it is",
    "size": "of the batch",
    "address": "host and port of who asked",
}
# None has a value that a client can make up.
METRIC_LABELS = {
    "route": "a path's template, as /v1/generations/{id}; `none` for a path that there is not",
    "model": "the name of one of the models on offer; `none` where a request named none, or none that there is",
    "queue": "the queue class of the request: realtime | batch",
    "pool": "the engines of a class: realtime | batch; without a pool of its own, batch is made by realtime's",
    "cache": "where codes came from: hit | cut | extended | joined | miss, and `file`: a finished one was kept",
    "stage": "text_encoder | language_model | codec_decoder",
    "store": "cache | leases | jobs",
    "market": "of a node, its label ray.io/market-type: spot | on-demand; `none` without",
}
