"""From an HTTP request to a MusicRequest or a Submission, with the last checks before any work is done.

The authentication middleware leaves in `request.state`: `caller`; `allow_prompt`, which raises PromptRefused; `admit`,
which charges the seconds of music to the caller's limits, or raises OverLimit. Without it, everything is allowed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from deployments.codec_decoder.windows import num_frames
from deployments.messages import ModelCard, MusicRequest
from serve_app.api.schemas.generations import GenerationBody
from serve_app.api.schemas.music import Body, MusicBody, parse_body
from serve_app.api.schemas.parsing import parse_json
from serve_app.errors import ClientClosedRequest, InvalidRequest, LicenseNotAccepted, NotReady, UnsupportedMediaType
from serve_app.identity import Caller
from serve_app.job import Submission


def caller_of(request: Request) -> Caller:
    """The caller, as the authentication middleware found it."""
    caller: Caller = getattr(request.state, "caller", Caller())
    return caller


def check_license(card: ModelCard) -> None:
    """Raises: LicenseNotAccepted if the operator has not accepted the licence of the model's weights."""
    if not card.accepted:
        raise LicenseNotAccepted(
            f"The weights of this model are under the licence {card.license}, which the operator of this service has "
            "not accepted; GET /v1/models lists the models.",
            param="model_id",
        )


async def permit(request: Request, prompt: str, audio_s: float) -> None:
    """Returns when the prompt is allowed and the music is charged; leaves both in `request.state` for the audit.

    Raises:
        PromptRefused: the operator's policy refuses the prompt.
        OverLimit: the key has used up a limit.
        NotReady: policy or limits can't be checked now.
    """
    request.state.prompt = prompt
    allow_prompt: Callable[[str], Awaitable[None]] | None = getattr(request.state, "allow_prompt", None)
    if allow_prompt is not None:
        await allow_prompt(prompt)
    admit: Callable[[float], Awaitable[None]] | None = getattr(request.state, "admit", None)
    if admit is not None:
        await admit(audio_s)
    request.state.audio_s = audio_s


async def read_body(request: Request, kind: type[Body]) -> Body:
    """The checked body. Raises: ServiceError for what can't be read or isn't allowed; ClientClosedRequest."""
    check_media_type(request.headers)
    return parse_body(parse_json(await body_bytes(request)), kind)


async def body_bytes(request: Request) -> bytes:
    """The whole body. After it, `receive` can only report that the client hung up.

    Raises: ClientClosedRequest; RequestTimeout, PayloadTooLarge.
    """
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise ClientClosedRequest("The client hung up.") from error


def check_media_type(headers: Headers) -> None:
    """Raises: UnsupportedMediaType unless the body is uncompressed JSON in UTF-8; no Content-Type means that too."""
    encoding = headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise UnsupportedMediaType("The body must not be compressed.", param="Content-Encoding")
    types = headers.getlist("Content-Type")
    if not types:
        return
    media_type, *parameters = (part.strip().lower().replace('"', "") for part in types[0].split(";"))
    if len(types) > 1 or media_type != "application/json" or not {"", "charset=utf-8"}.issuperset(parameters):
        raise UnsupportedMediaType("The body must be application/json, in UTF-8.", param="Content-Type")


def model_card(body: MusicBody, cards: Sequence[ModelCard], default_model: str) -> ModelCard:
    """The model that the body names. Raises: InvalidRequest if there is none of that name."""
    by_name = {card.name: card for card in cards}
    card = by_name.get(default_model if body.model_id is None else body.model_id)
    if card is None:
        raise InvalidRequest(f"model_id must be one of: {', '.join(by_name)}.", param="model_id")
    return card


def music_request(body: MusicBody, card: ModelCard, request_id: str, scope: str) -> MusicRequest:
    """The request as the pipeline takes it.

    Args:
        scope: of the cache.

    Raises:
        InvalidRequest: it is for more music than the model makes.
    """
    if body.music_length_ms > card.max_duration_ms:
        raise InvalidRequest(
            f"music_length_ms must be an integer from 1 to {card.max_duration_ms} for this model.",
            param="music_length_ms",
        )
    return MusicRequest(
        request_id=request_id,
        model=card.name,
        prompt=body.prompt,
        duration_ms=body.music_length_ms,
        seed=body.seed,
        sampling=body.sampling(),
        cache=body.cache,
        scope=scope,
    )


IDEMPOTENCY_HEADER = "Idempotency-Key"
IDEMPOTENCY_PATTERN = "[ -~]{1,200}"

_NUM_SEEDS = 2**64


def idempotency_key(headers: Headers) -> str | None:
    """The request's idempotency key; None without. Raises: InvalidRequest."""
    sent = headers.getlist(IDEMPOTENCY_HEADER)
    if not sent:
        return None
    if len(sent) > 1 or not re.fullmatch(IDEMPOTENCY_PATTERN, sent[0]):
        raise InvalidRequest(
            f"{IDEMPOTENCY_HEADER} must be one value of 1 to 200 printable ASCII characters.", param=IDEMPOTENCY_HEADER
        )
    return sent[0]


def submission(
    body: GenerationBody,
    music: MusicRequest,
    card: ModelCard,
    caller: Caller,
    key: str | None,
    draw: Callable[[], int],
) -> Submission:
    """The submission of a job. draw: a random seed. Raises: NotReady while the model has not been loaded."""
    if card.sound is None:
        raise NotReady("The model is still being loaded; try again in a moment.")
    seeds = seeds_of(body.seed, body.variations, draw)
    return Submission(
        tenant=caller.tenant,
        key_id=caller.key_id,
        request=replace(music, seed=seeds[0], queue=body.queue),
        seeds=seeds,
        num_frames=num_frames(music.duration_ms, card.sound.frame_rate),
        body_digest=body_digest(body),
        idempotency_key=key,
    )


def seeds_of(seed: int | None, variations: int, draw: Callable[[], int]) -> tuple[int | None, ...]:
    """One seed for each variation: the given one and those that follow it.

    Without a given one, a single variation has none, so that it may be a cache hit; several get random ones.
    """
    if seed is not None:
        return tuple((seed + number) % _NUM_SEEDS for number in range(variations))
    return (None,) if variations == 1 else tuple(draw() for _ in range(variations))


def body_digest(body: GenerationBody) -> str:
    """SHA-256 of the body in canonical form, defaults included: equal for equal requests, however they are written."""
    canonical = json.dumps(body.model_dump(), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
