"""Log events and metrics of jobs."""

from __future__ import annotations

from logging import ERROR, INFO, WARNING

from deployments.telemetry.log_event import LogEvent
from deployments.telemetry.metric import Metric

JOB_BEGUN = LogEvent(
    "job_begun",
    INFO,
    "job %(job)s/%(variation)d: attempt %(attempt)d, from frame %(frame)d of %(num_frames)d",
    "A variation of a job is being made here.",
    more=("request_id",),
)
JOB_MADE = LogEvent("job_made", INFO, "job %(job)s/%(variation)d: made", "It has succeeded.", more=("generation",))
JOB_PUT_OFF = LogEvent(
    "job_put_off",
    WARNING,
    "job %(job)s/%(variation)d: put off for %(delay_s).1f s: %(reason)s",
    "An attempt failed, or found no place; another one follows.",
)
JOB_FAILED = LogEvent(
    "job_failed", ERROR, "job %(job)s/%(variation)d: failed: %(reason)s", "It is given up after its last attempt."
)
JOB_BEGUN_AGAIN = LogEvent(
    "job_begun_again",
    WARNING,
    "job %(job)s/%(variation)d: no worker of the kind that began it is left; it is begun again",
    "Its engines were replaced by others, which would not go on bit for bit.",
)
JOB_LOST = LogEvent(
    "job_lost",
    WARNING,
    "job %(job)s/%(variation)d: it is no longer ours to make",
    "It was cancelled, or another replica has taken it on.",
)
JOB_TAKEN_OVER = LogEvent(
    "job_taken_over",
    WARNING,
    "job %(job)s/%(variation)d: another has taken it on, or it was cancelled",
    "It ended here when it was no longer ours.",
)
JOB_UNHEARD = LogEvent(
    "job_unheard",
    WARNING,
    "job %(job)s/%(variation)d: it is made, and can't be listened to (%(cause)s)",
    "Its codes could not be decoded at its end; the record does not say how it sounds.",
)
JOB_BROKE = LogEvent(
    "job_broke",
    ERROR,
    "job %(job)s/%(variation)d: it ended in an error; another attempt is made",
    "A fault of the service: what makes jobs has failed, not the making.",
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
