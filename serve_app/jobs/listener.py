"""How a job's sound is, found out before anybody fetches it.

Nobody may ever fetch it, and who does wants to know before; and where the sound is kept from another request, fetching
decodes nothing. So it is decoded once when its codes are whole. Whoever fetches it soon after from the same replica
gets the windows that were decoded then (see `SharedWindows`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from deployments.logs.catalogue import JOB_UNHEARD
from deployments.messages import MusicRequest, Resumption
from deployments.patience import within
from serve_app.api.errors import ServiceError
from serve_app.audio.health import SoundHealth
from serve_app.audio.recorder import UNRECORDED, SoundRecorder
from serve_app.pipeline.listened import is_new, tell_sound_made
from serve_app.records.variation import VariationId

# The music is there: nobody waits longer than this to be told how it sounds.
PATIENCE_S = 120.0

Hear = Callable[[MusicRequest, Resumption], Awaitable[SoundHealth]]

_log = logging.getLogger("ray.serve.jobs")  # below Serve's own, whose files and format it shares


class Listener:
    """hear: as `PipelineBackend.hear`. recorder: of what jobs make."""

    def __init__(self, hear: Hear, recorder: SoundRecorder = UNRECORDED) -> None:
        self._hear = hear
        self._recorder = recorder

    async def health(self, variation: VariationId, request: MusicRequest, made: Resumption) -> SoundHealth | None:
        """made: all codes. None where it can't be decoded now: the music is there all the same.

        Raises: what is wrong with the codes or the codec themselves.
        """
        try:
            return await within(self._hear(request, made), PATIENCE_S)
        except (asyncio.TimeoutError, ServiceError) as error:
            JOB_UNHEARD.tell(_log, job=variation.job_id, variation=variation.number, cause=type(error).__name__)
            return None

    def tell(self, request: MusicRequest, made: Resumption, health: SoundHealth | None) -> None:
        """The records have it now, and with it how it sounds."""
        if health is not None and is_new(made.start):
            tell_sound_made(self._recorder, request, made.start, health)
