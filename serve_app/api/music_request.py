"""From what came over HTTP to what the pipeline takes."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from deployments.messages import ModelCard, MusicRequest
from serve_app.api.errors import ClientClosedRequest, InvalidRequest, UnsupportedMediaType
from serve_app.api.schemas import Body, MusicBody, parse_body
from serve_app.api.strict_json import parse_json


async def read_body(request: Request, kind: type[Body]) -> Body:
    """The checked body. Raises: ServiceError for what can't be read or isn't allowed; ClientClosedRequest."""
    check_media_type(request.headers)
    return parse_body(parse_json(await body_bytes(request)), kind)


async def body_bytes(request: Request) -> bytes:
    """All of the body, whatever it is; after it nothing can come but that the client hangs up.

    Raises: ClientClosedRequest; RequestTimeout, PayloadTooLarge.
    """
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise ClientClosedRequest("The client hung up.") from error


def check_media_type(headers: Headers) -> None:
    """The body is application/json, in UTF-8 and not compressed; no Content-Type means that too.

    Raises UnsupportedMediaType.
    """
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
    """The model that the body asks for. Raises InvalidRequest where there is none of that name."""
    by_name = {card.name: card for card in cards}
    card = by_name.get(default_model if body.model_id is None else body.model_id)
    if card is None:
        raise InvalidRequest(f"model_id must be one of: {', '.join(by_name)}.", param="model_id")
    return card


def music_request(body: MusicBody, card: ModelCard, request_id: str, scope: str) -> MusicRequest:
    """The request as the pipeline takes it. scope: of the cache. Raises InvalidRequest for more music than the model
    makes.
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
