"""What the HTTP surface needs of whatever makes the music."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

from deployments.messages import Clip, ModelCard, MusicRequest, PcmChunk


class Backend(Protocol):
    """The pipeline as the API sees it. It may raise any ServiceError; anything else becomes a 500."""

    @property
    def default_model(self) -> str:
        """The name of the model that a request without one gets; one of `models()`."""
        ...

    def models(self) -> Sequence[ModelCard]:
        """The models on offer, at least one, and the same ones for the life of the service."""
        ...

    async def compose(self, request: MusicRequest) -> Clip:
        """The whole clip. Cancelling this frees everything it holds, and ends within a second."""
        ...

    def stream(self, request: MusicRequest) -> AsyncGenerator[PcmChunk, None]:
        """The pieces of the same clip, at least one, each made when it is asked for. Closing it is as cancelling."""
        ...

    async def ready(self) -> Mapping[str, bool]:
        """Every deployment's name and whether it is up."""
        ...
