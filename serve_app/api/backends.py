"""What the HTTP surface needs of whatever makes the music.

What the HTTP surface needs of whatever keeps the jobs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from deployments.messages import Clip, GenerationStart, ModelCard, MusicRequest, PcmChunk, Resumption
from serve_app.job import Job, Submission


@dataclass(frozen=True)
class SoundFile:
    """A finished file, and what its answer's headers say of it."""

    sound: bytes
    media_type: str
    sample_rate: int
    channels: int
    duration_ms: int


@dataclass(frozen=True)
class Kept:
    """A finished file that need not be made. start.outcome: `hit`."""

    start: GenerationStart
    file: SoundFile


@dataclass(frozen=True)
class Take:
    """One client's music on its way. chunks: at least one, each made when it is asked for; whoever has the take closes
    them, which frees everything it holds.
    """

    start: GenerationStart
    chunks: AsyncGenerator[PcmChunk, None]


@dataclass(frozen=True)
class Composed:
    """One client's music, whole."""

    start: GenerationStart
    clip: Clip


class Backend(Protocol):
    """The pipeline as the API sees it. It may raise any ServiceError; anything else becomes a 500."""

    @property
    def default_model(self) -> str:
        """The name of the model that a request without one gets; one of `models()`."""
        ...

    def models(self) -> Sequence[ModelCard]:
        """The models on offer, at least one, and the same ones for the life of the service."""
        ...

    async def kept(self, request: MusicRequest, container: str) -> Kept | None:
        """The finished file, if it is kept and the request may use it. container: names the bytes' form."""
        ...

    async def compose(self, request: MusicRequest) -> Composed:
        """The whole clip. Cancelling this frees everything it holds, and ends within a second."""
        ...

    async def take(self, request: MusicRequest) -> Take:
        """The same clip piece by piece, once its first codes are there."""
        ...

    def keep(self, request: MusicRequest, start: GenerationStart, container: str, file: SoundFile) -> None:
        """Keeps the finished file, if the request lets it, for whoever asks the same later; nobody waits for it."""
        ...

    async def kept_sound(self, request: MusicRequest, start: GenerationStart, container: str) -> SoundFile | None:
        """The finished file of music that was made before, if it is kept."""
        ...

    async def decode(self, request: MusicRequest, made: Resumption) -> Composed:
        """The sound of codes that were made before. Raises: Gone where the model is not the one that made them."""
        ...

    async def ready(self) -> Mapping[str, bool]:
        """Every deployment's name and whether it is up."""
        ...


class JobsBackend(Protocol):
    """Jobs of all tenants; every call names the one that it is for, and knows nothing of others'.

    Every call raises NotReady where the records can't be reached; then nothing was done, or it can be asked again.
    """

    async def submit(self, submission: Submission) -> tuple[Job, bool]:
        """The job, and whether it is a new one: the same idempotency key and body give the job that there is.

        Raises: InvalidRequest for an idempotency key that came with another body; TooBusy for more jobs in the queue
        than a tenant may have.
        """
        ...

    async def is_known(self, tenant: str, idempotency_key: str) -> bool:
        """Whether a job came with this key before."""
        ...

    async def find(self, tenant: str, job_id: str) -> Job | None:
        """As it stands now."""
        ...

    async def page(self, tenant: str, limit: int, before: str | None) -> Sequence[Job]:
        """Newest first, from the one that follows the job `before` on. Raises: NotFound where there is no such job."""
        ...

    async def cancel(self, tenant: str, job_id: str) -> Job | None:
        """As it stands after; one that has ended stays as it is. What it made by now is kept with it."""
        ...

    async def remove(self, tenant: str, job_id: str) -> bool:
        """Takes away one that has ended, with its codes; whether there was such a one."""
        ...

    def follow(self, tenant: str, job_id: str, after: int = -1) -> AsyncGenerator[Job | None, None]:
        """The job once its version is above `after`, and again whenever it has changed, until it has ended.

        Who is slow gets the last state, not all. None, and the end, when there is no such job (any more).
        """
        ...

    async def made(self, tenant: str, job_id: str, variation: int) -> Resumption | None:
        """All codes of a variation that has succeeded; None where there is none."""
        ...
