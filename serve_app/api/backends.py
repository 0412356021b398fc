"""What the HTTP API needs of its two backends: the one that makes music, and the one that stores and runs jobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from deployments.messages import Clip, GenerationStart, ModelCard, MusicRequest, PcmChunk, Resumption
from serve_app.job import Job, Submission


@dataclass(frozen=True)
class SoundFile:
    """A finished file, with what its answer's headers say of it."""

    sound: bytes
    media_type: str
    sample_rate: int
    channels: int
    duration_ms: int


@dataclass(frozen=True)
class CachedFile:
    """A finished file from the cache. start.outcome is `hit`."""

    start: GenerationStart
    file: SoundFile


@dataclass(frozen=True)
class StreamedMusic:
    """One client's music while it is made.

    Attributes:
        chunks: at least one, each made on demand. The caller closes them, which frees everything they hold.
    """

    start: GenerationStart
    chunks: AsyncGenerator[PcmChunk, None]


@dataclass(frozen=True)
class ComposedMusic:
    """One client's whole music."""

    start: GenerationStart
    clip: Clip


class Backend(Protocol):
    """The pipeline as the API sees it. It may raise any ServiceError; anything else becomes a 500."""

    @property
    def default_model(self) -> str:
        """The name of the model for requests that name none; one of `models()`."""
        ...

    def models(self) -> Sequence[ModelCard]:
        """The models served: at least one, and the same ones for the life of the service."""
        ...

    async def cached(self, request: MusicRequest, container: str) -> CachedFile | None:
        """The cached file, if there is one and the request may use it. container: the key of the container format."""
        ...

    async def compose(self, request: MusicRequest) -> ComposedMusic:
        """The whole clip. Cancelling it frees everything it holds, within a second."""
        ...

    async def stream(self, request: MusicRequest) -> StreamedMusic:
        """The same clip piece by piece; returns once its first codes are there."""
        ...

    def store(self, request: MusicRequest, start: GenerationStart, container: str, file: SoundFile) -> None:
        """Stores the finished file in the cache, in the background, if the request allows it."""
        ...

    async def cached_file(self, request: MusicRequest, start: GenerationStart, container: str) -> SoundFile | None:
        """The cached file of music that was made before, if there is one."""
        ...

    async def decode(self, request: MusicRequest, made: Resumption) -> ComposedMusic:
        """The sound of codes that were made before. Raises: Gone if the model is not the one that made them."""
        ...

    async def ready(self) -> Mapping[str, bool]:
        """Every deployment's name, and whether it is up."""
        ...


class JobsBackend(Protocol):
    """Jobs of all tenants. Every call is for one tenant, and reveals nothing of the others' jobs.

    Every call raises NotReady if the database can't be reached. Then nothing was done, or the call can be repeated.
    """

    async def submit(self, submission: Submission) -> tuple[Job, bool]:
        """The job, and whether it is new: the same idempotency key and body give the existing job.

        Raises:
            InvalidRequest: the idempotency key came with another body before.
            TooBusy: the tenant has as many jobs in the queue as it may have.
        """
        ...

    async def is_known(self, tenant: str, idempotency_key: str) -> bool:
        """Whether a job was submitted with this key before."""
        ...

    async def find(self, tenant: str, job_id: str) -> Job | None:
        """The job as it is now; None if there is none."""
        ...

    async def page(self, tenant: str, limit: int, before: str | None) -> Sequence[Job]:
        """Jobs newest first, beginning after the job `before`. Raises: NotFound if there is no such job."""
        ...

    async def cancel(self, tenant: str, job_id: str) -> Job | None:
        """The job after it was cancelled; one that has ended stays as it is. What it has made stays with it."""
        ...

    async def remove(self, tenant: str, job_id: str) -> bool:
        """Deletes a job that has ended, with its codes; whether there was one."""
        ...

    def follow(self, tenant: str, job_id: str, after: int = -1) -> AsyncGenerator[Job | None, None]:
        """Yields the job once its version is above `after`, and whenever it has changed, until it has ended.

        A slow reader gets the latest state, not all. None, and then the end, if there is no such job (any more).
        """
        ...

    async def made(self, tenant: str, job_id: str, variation: int) -> Resumption | None:
        """All codes of a variation that has succeeded; None if there is none."""
        ...
