"""One request's codes, from whichever pipeline replica can make them: resumed on another when one is lost.

The next replica is given what was received so far, and the text states that it was made from, so that what follows
fits bit for bit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from logging import WARNING

from deployments.liveness.stalls import within
from deployments.liveness.timings import TIMINGS
from deployments.messages import CodeFrames, GenerationStart, Heartbeat, Resumption
from deployments.telemetry.log_event import LogEvent
from serve_app.cache.keys import short_id
from serve_app.errors import NotReady
from serve_app.pipeline.running_generations import LeaseLost
from serve_app.pipeline.subscribers import FrameBuffer
from serve_app.pipeline.workers import MAX_LOSSES

PIPELINE_SILENT = LogEvent(
    "pipeline_silent",
    WARNING,
    "a pipeline replica sent no heartbeat for %(patience_s)g s; the request is resumed on another",
    "A pipeline replica or its node is unresponsive.",
    more=("generation", "request_id"),
)
PIPELINE_LOST = LogEvent(
    "pipeline_lost",
    WARNING,
    "a pipeline replica was lost at frame %(frame)d (%(cause)s); the request is resumed on another",
    "A pipeline replica crashed; its requests are resumed on another.",
    more=("generation", "request_id"),
)


PipelineItem = GenerationStart | CodeFrames | Heartbeat
# Given the number of the attempt, from 0, so that each may go to another replica.
PipelineCall = Callable[[int, Resumption | None], AsyncGenerator[PipelineItem, None]]

_log = logging.getLogger("ray.serve.ingress")  # below Serve's own, whose files and format it shares


class PipelineLost(Exception):
    """The pipeline replica is gone."""


async def stream_with_failover(
    call: PipelineCall, silence_s: float, resumption: Resumption | None = None, *, request_id: str | None = None
) -> AsyncGenerator[GenerationStart | CodeFrames, None]:
    """Yields the start of a generation and then its frames, each once, and retries on another replica after a loss.

    A replica sends its first heartbeat at once. One that does not is unresponsive, and another is called.

    Args:
        call: calls a pipeline replica; raises PipelineLost.
        silence_s: seconds without a heartbeat after which a replica is given up; it has lost its leases by then.
        resumption: what was received before; only the frames that follow it are yielded, and no start.
        request_id: for the log.

    Raises: what a pipeline raises; NotReady after several losses without a frame between them.
    """
    start = None if resumption is None else resumption.start
    has_codes = resumption is not None and resumption.codes.shape[1] > 0
    frames, losses, attempt = FrameBuffer(resumption.codes if resumption and has_codes else None), 0, 0
    while True:
        resumption = None if start is None else Resumption(start, frames.codes())
        try:
            async with aclosing(call(attempt, resumption)) as items:
                timeout_s = TIMINGS.pipeline_first_sign_s
                while True:
                    item = await within(anext(items, None), timeout_s)
                    timeout_s = silence_s
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
            PIPELINE_SILENT.tell(_log, patience_s=timeout_s, generation=_named(start), request_id=request_id)
        except (PipelineLost, LeaseLost) as error:
            losses += 1
            if losses == MAX_LOSSES:
                raise NotReady("The workers that made this clip were lost one after the other; try again.") from error
            PIPELINE_LOST.tell(
                _log, frame=frames.num_frames, cause=str(error), generation=_named(start), request_id=request_id
            )
        attempt += 1


def _named(start: GenerationStart | None) -> str | None:
    return None if start is None else short_id(start.key)
