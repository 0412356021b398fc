"""The JSON bodies of requests and answers, jobs aside.

A field's description is its rule: it is in the OpenAPI document, and in the error for a wrong value.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from deployments.messages import CacheMode, ModelCard, Sampling
from serve_app.api.schemas.parsing import MAX_PROMPT_CHARS, PROMPT_PATTERN, canonical_prompt
from serve_app.errors import InvalidRequest, plain_name

DEFAULT_DURATION_MS = 10_000
MAX_SEED = 2**64 - 1


def _integral(value: object) -> object:
    """Accepts 10000.0: it is an integer in JSON, and many clients write it so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, BeforeValidator(_integral)]


class MusicBody(BaseModel):
    """The body of POST /v1/music."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    prompt: Annotated[str, AfterValidator(canonical_prompt)] = Field(
        description=f"a text of 1 to {MAX_PROMPT_CHARS} characters that says what the music is like, counted after "
        "Unicode normalisation (NFC) and folding of white space, without control characters",
        examples=["a 30-second grand piano jazz improvisation"],
        json_schema_extra={"minLength": 1, "maxLength": MAX_PROMPT_CHARS, "pattern": PROMPT_PATTERN},
    )
    music_length_ms: Integer = Field(
        DEFAULT_DURATION_MS, ge=1, description="an integer from 1 to the model's maximum: milliseconds of music"
    )
    model_id: str | None = Field(
        None, description="the name of a model that GET /v1/models lists, or null for the default"
    )
    seed: Annotated[int, Field(ge=0, le=MAX_SEED), BeforeValidator(_integral)] | None = Field(
        None,
        description="an integer from 0 to 2^64 - 1, or null for that of the cached music of the same request, or "
        "else a random one below 2^53: the same body with the same seed gives the same sound",
    )
    temperature: float = Field(
        Sampling.temperature,
        ge=0,
        le=10,
        description="a number from 0 to 10: what the logits are divided by; 0 always takes the likeliest token",
    )
    top_k: Integer = Field(
        Sampling.top_k,
        ge=0,
        le=2048,
        description="an integer from 0 to 2048: only so many of the likeliest tokens are drawn from; 0 means all",
    )
    top_p: float = Field(
        Sampling.top_p,
        ge=0,
        le=1,
        description="a number from 0 to 1: only the likeliest tokens that reach this probability together are drawn "
        "from; 0 and 1 mean all",
    )
    guidance_scale: float = Field(
        Sampling.guidance_scale,
        ge=0,
        le=100,
        description="a number from 0 to 100: how closely the music follows the prompt; 1 means no guidance",
    )
    cache: CacheMode = Field(
        "use",
        description='"use", "refresh" or "off": use answers from the cache where it can; refresh makes the music '
        "again, with a new seed where none is sent, and caches that; off makes it again and caches nothing",
    )

    def sampling(self) -> Sampling:
        return Sampling(
            guidance_scale=self.guidance_scale, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p
        )


Body = TypeVar("Body", bound=MusicBody)


def parse_body(document: object, kind: type[Body]) -> Body:
    """A JSON document → the checked body. Raises: InvalidRequest for the first fault in it."""
    if not isinstance(document, dict):
        raise InvalidRequest("The body must be a JSON object.")
    fields = kind.model_fields
    for name in document:
        if name not in fields:
            raise _unknown_field(name, list(fields))
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        # Pydantic's message repeats the input; only the field is needed.
        param = str(error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"][0])
    raise InvalidRequest(f"{param} must be {fields[param].description}.", param=param)


def _unknown_field(name: str, fields: list[str]) -> InvalidRequest:
    near = difflib.get_close_matches(name.lower()[:64], fields, n=1)
    advice = f'did you mean "{near[0]}"?' if near else f"the fields are {', '.join(fields)}."
    return InvalidRequest(f"The body has an unknown field; {advice}", param=plain_name(name))


class Fault(BaseModel):
    """What was wrong, and with which field."""

    type: str = Field(description="the kind of fault, one word for programs")
    message: str = Field(description="what was wrong and what would be right, for people")
    param: str | None = Field(description="the field or parameter at fault, where there is one")


class ErrorAnswer(BaseModel):
    """The body of every error."""

    error: Fault


class ModelAnswer(BaseModel):
    """One model of the service."""

    name: str = Field(description="what to send as model_id")
    default: bool = Field(description="whether requests without a model_id get this model")
    license: str = Field(description="the licence of the weights")
    revision: str | None
    sample_rate: int | None = Field(description="samples a second; null until the model is loaded for the first time")
    channels: int | None = Field(description="1 or 2; null until then")
    max_music_length_ms: int

    @classmethod
    def from_card(cls, card: ModelCard, default_model: str) -> ModelAnswer:
        return cls(
            name=card.name,
            default=card.name == default_model,
            license=card.license,
            revision=card.revision,
            sample_rate=card.sound.sample_rate if card.sound else None,
            channels=card.sound.channels if card.sound else None,
            max_music_length_ms=card.max_duration_ms,
        )


class ModelsAnswer(BaseModel):
    """The models of the service."""

    models: list[ModelAnswer]


class HealthAnswer(BaseModel):
    """The process is alive."""

    status: Literal["alive"] = "alive"


class ReadyAnswer(BaseModel):
    """Every deployment is up."""

    status: Literal["ready"] = "ready"
    deployments: dict[str, bool]


class IndexAnswer(BaseModel):
    """Where a person who opens the address goes next."""

    service: str = "musicgen-serve"
    documentation: str
    openapi: str
    models: str
