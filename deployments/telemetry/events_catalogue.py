"""Every event that the service writes into its log. The names and fields of those that there are stay as they are.

Fields and their values, none of which has a client's words in it; null where there is none:
    request_id    the answer's X-Request-Id: the client's own where it is fit for a log, else drawn
    generation    32 hexadecimal digits: X-Generation-Id, a variation's music_id; of a `request` about a job, the job's
    job           32 hexadecimal digits, the id of a generation at /v1/generations
    variation     which of the job's variations, from 0
    model         the name of one of the models on offer; `none` where a request named none, or none that there is
    method        of HTTP; `other` for one that there is not
    route         a path's template, as /v1/generations/{id}; `none` for a path that there is not
    status        of the answer; 499: the client hung up before it began
    seconds       what it took
    cause         the kind of an error
    reason        an error's own sentence
    frame         how many frames were made by then, 50 a second; nothing of them is lost
    num_frames    that are to be made
    num_lost      workers, one after the other
    patience_s    how long nobody answered
    lease_s       how long a replica may be silent before others take over what it makes
    delay_s       until the next attempt
    attempt       of a job's variation, from 1; another process's taking it over is one, too
    silent_share  of the clip, from 0 to 1
    of            who has the fault: store (the cache's, the records' or the jobs') | access
    kind          of the fault
    detail        what the store said of it
    since         how many of the kind there were since it was last told, this one included
    how           which limits are set, and who counts
    source        the checkpoint's name or folder
    where         on which device, in which numerics and memory
    load          the engine's slots and queue
    stage         whose batch it is
    size          of the batch
    address       host and port of who asked
"""

from __future__ import annotations

from logging import CRITICAL, ERROR, INFO, WARNING

from deployments.telemetry.log_event import LogEvent

# Requests.
REQUEST = LogEvent(
    "request",
    INFO,
    "request method=%(method)s route=%(route)s status=%(status)s seconds=%(seconds)s request_id=%(request_id)s "
    "model=%(model)s",
    "A request came to its end.",
    more=("generation",),
)
UNEXPECTED_EXCEPTION = LogEvent(
    "unexpected_exception",
    ERROR,
    "unexpected exception request_id=%(request_id)s",
    "A request failed for a reason that nobody thought of: a fault of the service.",
    more=("generation",),
)
SPOOL_FAILED = LogEvent(
    "spool_failed",
    ERROR,
    "a finished file can't be put on the disk",
    "The ingress's folder for temporary files is full, or can't be written.",
)
LIMITS = LogEvent("limits", INFO, "limits: %(how)s", "At a start: which limits hold, and where they are counted.")
STORE_FAULT = LogEvent(
    "store_fault",
    WARNING,
    "%(of)s: %(kind)s: %(detail)s (%(since)d since last told)",
    "The cache's store, the database or Redis failed to do something; told once a minute for each kind.",
)

# Generations under way.
PIPELINE_SILENT = LogEvent(
    "pipeline_silent",
    WARNING,
    "a pipeline replica gave no sign of life for %(patience_s)g s; another is asked",
    "A pipeline replica is held up, or its node is.",
    more=("generation", "request_id"),
)
PIPELINE_LOST = LogEvent(
    "pipeline_lost",
    WARNING,
    "a pipeline replica was lost at frame %(frame)d (%(cause)s); another is asked",
    "A pipeline replica died; who listened goes on with another.",
    more=("generation", "request_id"),
)
ENCODER_SILENT = LogEvent(
    "encoder_silent",
    WARNING,
    "generation %(generation).16s: no text encoder answered in %(patience_s)g s",
    "The text encoders are held up.",
)
WORKER_LOST = LogEvent(
    "worker_lost",
    WARNING,
    "generation %(generation).16s lost its worker at frame %(frame)d (%(cause)s); another goes on",
    "A language model's replica died, or left its node; nothing is lost by it.",
)
GENERATION_GIVEN_UP = LogEvent(
    "generation_given_up",
    ERROR,
    "generation %(generation).16s lost %(num_lost)d workers, and is given up",
    "The request seems to kill workers, and is refused for a while.",
)
GENERATION_LEASE_LOST = LogEvent(
    "generation_lease_lost",
    WARNING,
    "generation %(generation).16s: its lease is lost; it goes on elsewhere",
    "The pipeline replica was held up for longer than its lease.",
)
CODEC_SILENT = LogEvent(
    "codec_silent",
    WARNING,
    "no codec replica has decoded a window in %(patience_s)g s; it is asked for again",
    "The codec decoders are held up.",
)
CODEC_LOST = LogEvent(
    "codec_lost",
    WARNING,
    "a codec replica was lost (%(cause)s); its window goes to another",
    "A codec decoder's replica died.",
)
IDENTITY_LOST = LogEvent(
    "identity_lost",
    WARNING,
    "a language-model replica was lost when it was asked what it is; another one is asked",
    "A language model's replica died.",
)
CLIP_COLLAPSED = LogEvent(
    "clip_collapsed",
    WARNING,
    "generation %(generation).16s: the clip has collapsed: it is silent or hangs, to its end",
    "The sound is not what one wants to hear; many of them are a fault of a model or of its numerics.",
    more=("model", "request_id", "silent_share"),
)

# Jobs.
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

# Models.
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
BATCH_FAILED = LogEvent(
    "batch_failed",
    WARNING,
    "%(stage)s: a batch of %(size)d failed (%(cause)s); trying each alone",
    "One of several texts or windows is more than the model takes.",
)
CALLER_GONE = LogEvent(
    "caller_gone",
    WARNING,
    "whoever asked for this is gone; it is given up",
    "A process that had asked died with its node; what it asked for is not made for nobody.",
    more=("address",),
)
CALLER_UNSEEN = LogEvent(
    "caller_unseen",
    WARNING,
    "can't see whether %(address)s is still there (%(cause)s)",
    "The network does not let this node connect to that one's port; a caller that dies is found out late.",
)

EVENTS: tuple[LogEvent, ...] = tuple(each for each in list(vars().values()) if isinstance(each, LogEvent))
