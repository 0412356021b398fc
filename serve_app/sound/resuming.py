"""One listener's codes, from whichever pipeline replica can go on with them.

What has been received goes along when the next replica is asked, with the text states that it was made with, so that
what follows fits bit for bit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from logging import WARNING

from deployments.liveness.stalls import within
from deployments.messages import Beat, CodeFrames, GenerationStart, Resumption
from deployments.telemetry.log_event import LogEvent
from serve_app.cache.keys import short_id
from serve_app.errors import NotReady
from serve_app.pipeline.running import LeaseLost
from serve_app.pipeline.subscribers import Frames
from serve_app.pipeline.workers import MAX_LOSSES

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


# A replica says at once that it is there. One that doesn't is held up: another is asked, which the next attempt's name
# leads to sooner or later.
FIRST_SIGN_S = 3.0

PipelineItem = GenerationStart | CodeFrames | Beat
# attempt: from 0 on, so that each may go to another replica.
Call = Callable[[int, Resumption | None], AsyncGenerator[PipelineItem, None]]

_log = logging.getLogger("ray.serve.ingress")  # below Serve's own, whose files and format it shares


class PipelineLost(Exception):
    """The replica that was asked is gone."""


async def lasting(
    call: Call, silence_s: float, resumption: Resumption | None = None, *, request_id: str | None = None
) -> AsyncGenerator[GenerationStart | CodeFrames, None]:
    """The start and then the frames, each once; after a resumption the frames that follow it. Closing it gives the
    place up.

    call: raises PipelineLost. silence_s: without a sign of life, after which a replica has lost its leases.
    request_id: for the log.
    Raises: what a pipeline raises; NotReady after several replicas lost.
    """
    start = None if resumption is None else resumption.start
    has_codes = resumption is not None and resumption.codes.shape[1] > 0
    frames, losses, attempt = Frames(resumption.codes if resumption and has_codes else None), 0, 0
    while True:
        resumption = None if start is None else Resumption(start, frames.all())
        try:
            async with aclosing(call(attempt, resumption)) as items:
                patience_s = FIRST_SIGN_S
                while True:
                    item = await within(anext(items, None), patience_s)
                    patience_s = silence_s
                    if isinstance(item, CodeFrames):
                        frames.append(item)
                        losses = 0
                        yield item
                        if item.finished:
                            return
                    elif isinstance(item, GenerationStart) and start is None:
                        start = item
                        yield item
                    elif item is None:
                        raise PipelineLost("its stream ended early")
        except asyncio.TimeoutError:
            PIPELINE_SILENT.tell(_log, patience_s=patience_s, generation=_named(start), request_id=request_id)
        except (PipelineLost, LeaseLost) as error:
            losses += 1
            if losses == MAX_LOSSES:
                raise NotReady("The workers that made this clip were lost one after the other; try again.") from error
            PIPELINE_LOST.tell(
                _log, frame=frames.number, cause=str(error), generation=_named(start), request_id=request_id
            )
        attempt += 1


def _named(start: GenerationStart | None) -> str | None:
    return None if start is None else short_id(start.key)
