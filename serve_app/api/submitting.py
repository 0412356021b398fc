"""From a body that asks for a job to what is submitted."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace

from starlette.datastructures import Headers

from deployments.messages import ModelCard, MusicRequest
from serve_app.access.caller import Caller
from serve_app.api.errors import InvalidRequest, NotReady
from serve_app.api.generation_schemas import GenerationBody
from serve_app.jobs.job import Submission
from serve_app.pipeline.durations import num_frames

KEY_HEADER = "Idempotency-Key"
KEY_PATTERN = "[ -~]{1,200}"

_NUM_SEEDS = 2**64


def idempotency_key(headers: Headers) -> str | None:
    """The client's own name for what it submits. Raises: InvalidRequest."""
    sent = headers.getlist(KEY_HEADER)
    if not sent:
        return None
    if len(sent) > 1 or not re.fullmatch(KEY_PATTERN, sent[0]):
        raise InvalidRequest(
            f"{KEY_HEADER} must be one value of 1 to 200 printable ASCII characters.", param=KEY_HEADER
        )
    return sent[0]


def submission(
    body: GenerationBody,
    asked: MusicRequest,
    card: ModelCard,
    caller: Caller,
    key: str | None,
    draw: Callable[[], int],
) -> Submission:
    """What is submitted. draw: a random seed. Raises: NotReady while the model has not been loaded."""
    if card.sound is None:
        raise NotReady("The model is still being loaded; try again in a moment.")
    seeds = seeds_of(body.seed, body.variations, draw)
    return Submission(
        tenant=caller.tenant,
        key_id=caller.key_id,
        request=replace(asked, seed=seeds[0], queue=body.queue),
        seeds=seeds,
        num_frames=num_frames(asked.duration_ms, card.sound.frame_rate),
        body_digest=body_digest(body),
        idempotency_key=key,
    )


def seeds_of(seed: int | None, variations: int, draw: Callable[[], int]) -> tuple[int | None, ...]:
    """One for each variation: those that follow the given one; without it, one variation may take what is kept, and
    several have to be told apart.
    """
    if seed is not None:
        return tuple((seed + number) % _NUM_SEEDS for number in range(variations))
    return (None,) if variations == 1 else tuple(draw() for _ in range(variations))


def body_digest(body: GenerationBody) -> str:
    """SHA-256 of what is asked, defaults included, in one form: the same whatever is drawn for it, however spelt."""
    canonical = json.dumps(body.model_dump(), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
