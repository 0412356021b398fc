"""How a clip sounds, in a few numbers that tell music from what a model makes when it goes wrong.

What can't be done with a job.

A job: music that is made whether or not anybody waits for it, in one or more variations of one request.

queued → running → succeeded | failed          cancelled from either of the first two
           ↑  ↓
       a retry, or another process takes over: never back to queued

What a runner and the jobs' table say to each other of a variation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from deployments.messages import CodeFrames, GenerationStart, MusicRequest, QueueClass, Resumption


@dataclass(frozen=True)
class SoundHealth:
    """Of one clip; shares are from 0 to 1. flatness and harmonicity are None where no frame sounds.

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
    """The idempotency key came before, with another body."""


class TooManyQueued(Exception):
    """The tenant has as many jobs in the queue as it may."""


class UnknownJob(Exception):
    """The tenant has no such job."""


class StaleToken(Exception):
    """Another has taken the variation on since, or it was cancelled: nothing that this one made of it is taken."""


JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
# Jobs of `realtime` go first, and have places that those of `batch` never take.
QUEUE_CLASSES: tuple[QueueClass, ...] = get_args(QueueClass)
ENDED: frozenset[JobState] = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True)
class Fault:
    """Why a variation failed, as an answer would say it: `ServiceError.type` and its message."""

    type: str
    message: str


@dataclass(frozen=True)
class Variation:
    """One of a job's takes of its request; the unit that is claimed, made and lost.

    number: from 0. seed: None until it is settled. generation: the key of its music, 64 hexadecimal digits, likewise.
    frames: saved so far, of num_frames. attempts: claims that began work, take-overs included. health: of one that has
    succeeded, where its sound could be listened to. Times are seconds since 1970.
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
    """What a client submits, checked. request: its seed is that of the first variation; request_id names the log lines.

    seeds: one for each variation. num_frames: of each. key_id: of the API key it came with, empty without keys.
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
    """A job as it stands. id: 32 hexadecimal digits. version: grows with every change that can be seen.

    position: of a queued one, from 1, among those of its own tenant and class: of others' jobs nothing can be told.
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
        """The part of all frames that is made, from 0 to 1."""
        return sum(each.frames for each in self.variations) / sum(each.num_frames for each in self.variations)


def state_of(states: Sequence[JobState]) -> JobState:
    """Queued while all are; running while any is not at its end; then the worst end that any came to."""
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
        """Whoever holds this lease makes it."""
        return f"job/{self}"

    def __str__(self) -> str:
        return f"{self.job_id}/{self.number}"


@dataclass(frozen=True)
class ClaimedVariation:
    """A variation that was claimed. attempts: this one included. resumption: what is saved of it; None: nothing yet."""

    request: MusicRequest
    num_frames: int
    attempts: int
    resumption: Resumption | None


@dataclass(frozen=True)
class Checkpoint:
    """What is to be saved under a token. start: told once. Neither start nor frames: the token is asked for only."""

    variation: VariationId
    token: int
    start: GenerationStart | None
    frames: CodeFrames | None
