"""The job model: a job is music that is generated whether or not a client waits, in variations of one request.

queued → running → succeeded | failed          cancelled from either of the first two
           ↑  ↓
       a retry, or another process takes over: never back to queued

Also the errors of jobs, and what a runner and the jobs' table exchange.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from deployments.messages import CodeFrames, GenerationStart, MusicRequest, QueueClass, Resumption


@dataclass(frozen=True)
class SoundHealth:
    """A few numbers of a clip that tell music from the output of a broken model; shares are from 0 to 1.

    flatness and harmonicity are None where no frame sounds.

    silent_share: of the frames, those whose root mean square is 60 dB or more below full scale.
    clipped_share: of the samples, those at full scale in runs of three or more.
    flatness: spectral flatness, the geometric over the arithmetic mean of a frame's power spectrum (Johnston 1988; Hann
    window, neither 0 Hz nor the highest), mean of the frames that sound; a tone has 0, white noise 0.56, which is e to
    minus Euler's constant.
    harmonicity: the highest peak of a frame's autocorrelation between 60 Hz and 1000 Hz, over that at lag 0, each
    over the window's own (Boersma 1993), mean of the frames that sound; a tone has 1, noise little.
    collapsed: it is silent all through; or its last quarter at least, and no less than a second, is nothing but silent
    frames and frames that repeat the one before, its last two aside.
    """

    silent_share: float
    clipped_share: float
    flatness: float | None
    harmonicity: float | None
    collapsed: bool


class IdempotencyKeyReused(Exception):
    """The idempotency key was used before, with another body."""


class TooManyQueued(Exception):
    """The queue of the tenant is full."""


class UnknownJob(Exception):
    """The tenant has no such job."""


class StaleToken(Exception):
    """Another process has begun the variation since, or it was cancelled: writes under the old token are refused."""


JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
# Jobs of `realtime` go first, and have places that jobs of `batch` never use.
QUEUE_CLASSES: tuple[QueueClass, ...] = get_args(QueueClass)
ENDED: frozenset[JobState] = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True)
class Fault:
    """Why a variation failed: the type and message of a `ServiceError`."""

    type: str
    message: str


@dataclass(frozen=True)
class Variation:
    """One generation of a job's request; the unit that is claimed and retried.

    number: from 0. seed: None until it is known. generation: the key of its music, 64 hexadecimal digits, likewise.
    frames: saved so far, of num_frames. attempts: claims that began work, those by other processes included. health: of
    a variation that has succeeded, where its sound could be measured. Times are seconds since 1970.
    """

    number: int
    state: JobState
    seed: int | None
    frames: int
    num_frames: int
    attempts: int = 0
    generation: str | None = None
    fault: Fault | None = None
    started_s: float | None = None
    ended_s: float | None = None
    health: SoundHealth | None = None


@dataclass(frozen=True)
class Submission:
    """A client's submission, checked. request: with the seed of the first variation; request_id: for log lines.

    seeds: one for each variation. num_frames: of each. key_id: of its API key, empty without keys.
    idempotency_key: the client's, at most 200 printable characters. body_digest: SHA-256 of the canonical body.
    """

    tenant: str
    key_id: str
    request: MusicRequest
    seeds: tuple[int | None, ...]
    num_frames: int
    body_digest: str
    idempotency_key: str | None = None


@dataclass(frozen=True)
class Job:
    """The state of a job. id: 32 hexadecimal digits. version: grows with every visible change.

    position: of a queued job, from 1, among those of its own tenant and class, so that it reveals no other tenant's.
    """

    id: str
    tenant: str
    request: MusicRequest
    queue: QueueClass
    created_s: float
    variations: tuple[Variation, ...]
    version: int
    position: int | None = None

    @property
    def state(self) -> JobState:
        """Of all variations together."""
        return state_of([each.state for each in self.variations])

    @property
    def progress(self) -> float:
        """The share of all frames that are saved, from 0 to 1."""
        return sum(each.frames for each in self.variations) / sum(each.num_frames for each in self.variations)


def state_of(states: Sequence[JobState]) -> JobState:
    """Queued while all are; running while any has not ended; then the worst end of all."""
    if all(state == "queued" for state in states):
        return "queued"
    if not ENDED.issuperset(states):
        return "running"
    return next(state for state in ("cancelled", "failed", "succeeded") if state in states)


@dataclass(frozen=True)
class VariationId:
    """job_id: 32 hexadecimal digits."""

    job_id: str
    number: int

    @property
    def lease_name(self) -> str:
        """The lease whose holder generates the variation."""
        return f"job/{self}"

    def __str__(self) -> str:
        return f"{self.job_id}/{self.number}"


@dataclass(frozen=True)
class ClaimedVariation:
    """A variation that was claimed. attempts: this one included. resumption: what is saved of it; None: nothing."""

    request: MusicRequest
    num_frames: int
    attempts: int
    resumption: Resumption | None


@dataclass(frozen=True)
class Checkpoint:
    """What to save under a token. start: once. With neither start nor frames only the token is checked."""

    variation: VariationId
    token: int
    start: GenerationStart | None
    frames: CodeFrames | None
