"""From what came over HTTP to what the pipeline takes."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers, QueryParams

from deployments.messages import ModelCard, MusicRequest
from serve_app.api.errors import InvalidRequest, UnsupportedMediaType, plain_name
from serve_app.api.schemas import MusicBody
from serve_app.audio.containers import CONTAINER_FORMATS, DEFAULT_FORMAT, ContainerFormat


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


def output_format(query: QueryParams) -> ContainerFormat:
    """The container asked for by `?output_format=`. Raises InvalidRequest for any other, or repeated, parameter."""
    names = [name for name, _ in query.multi_items()]
    for name in names:
        if name != "output_format":
            raise InvalidRequest(
                "The address has an unknown query parameter; the only one is output_format.", param=plain_name(name)
            )
    if not names:
        return DEFAULT_FORMAT
    container = CONTAINER_FORMATS.get(query["output_format"])
    if container is None or len(names) > 1:
        raise InvalidRequest(f"output_format must be one of: {', '.join(CONTAINER_FORMATS)}.", param="output_format")
    return container


def model_card(body: MusicBody, cards: Sequence[ModelCard], default_model: str) -> ModelCard:
    """The model that the body asks for. Raises InvalidRequest where there is none of that name."""
    by_name = {card.name: card for card in cards}
    card = by_name.get(default_model if body.model_id is None else body.model_id)
    if card is None:
        raise InvalidRequest(f"model_id must be one of: {', '.join(by_name)}.", param="model_id")
    return card


def music_request(body: MusicBody, card: ModelCard, request_id: str) -> MusicRequest:
    """The request as the pipeline takes it. Raises InvalidRequest for more music than the model makes."""
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
    )
