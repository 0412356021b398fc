"""The JSON of jobs, which the API calls generations: what comes in, and what goes out."""

from __future__ import annotations

from pydantic import BaseModel, Field

from deployments.messages import QueueClass
from serve_app.api.schemas.music import Integer, MusicBody
from serve_app.job import JobState

# What JobsSettings allows at most; the settings may say less.
MAX_VARIATIONS = 64


class GenerationBody(MusicBody):
    """The body of POST /v1/generations."""

    variations: Integer = Field(
        1,
        ge=1,
        le=MAX_VARIATIONS,
        description="an integer from 1 to the service's maximum: takes of the same words, each with a seed of its own: "
        "the given one and those that follow it, or random ones",
    )
    queue: QueueClass = Field(
        "batch", description='"realtime" or "batch": realtime goes first, and is for whom somebody waits'
    )


class VariationFault(BaseModel):
    """Why a variation failed."""

    type: str = Field(description="the kind of fault, one word for programs")
    message: str = Field(description="what was wrong, for people")


class SoundHealthAnswer(BaseModel):
    """How a variation sounds. It tells of a take that went wrong before you fetch it, and nothing of how good it is."""

    collapsed: bool = Field(
        description="it is silent, or falls silent or hangs and does not come back: a take to make again"
    )
    silent_share: float = Field(ge=0, le=1, description="of its time, 60 dB or more below full scale")
    clipped_share: float = Field(ge=0, le=1, description="of its samples, cut off at full scale")
    flatness: float | None = Field(
        ge=0, le=1, description="of its spectrum: 0 for a tone, 0.56 for white noise; null for silence"
    )
    harmonicity: float | None = Field(
        ge=0,
        le=1,
        description="how much of it has a pitch, of 60 Hz to 1000 Hz: 1 for a tone; null for silence",
    )


class VariationLinks(BaseModel):
    """Where the rest of a variation is."""

    audio: str = Field(description="the sound, once the variation has succeeded")


class VariationAnswer(BaseModel):
    """One take of a generation."""

    number: int = Field(description="from 0")
    state: JobState
    progress: float = Field(ge=0, le=1, description="the part that is made")
    seed: int | None = Field(description="null until it is settled")
    music_id: str | None = Field(description="the X-Generation-Id of its sound; null until it is settled")
    error: VariationFault | None = Field(description="of a failed one")
    sound: SoundHealthAnswer | None = Field(
        description="null until it has succeeded, and where its sound could not be listened to"
    )
    links: VariationLinks


class GenerationTiming(BaseModel):
    """How long it took, in seconds."""

    queued_s: float | None = Field(description="until the first variation was begun; null until then")
    running_s: float | None = Field(description="from then on until all had ended; null until then")


class GenerationLinks(BaseModel):
    """Where the rest of a generation is; addresses on the same service."""

    self: str
    events: str = Field(description="server-sent events")
    audio: str = Field(description="the sound of variation 0")


class GenerationAnswer(BaseModel):
    """A generation as it stands: music that is made whether or not anybody waits for it."""

    id: str = Field(pattern="^[0-9a-f]{32}$")
    state: JobState = Field(
        description="queued while all variations are; running while any has not ended; then succeeded, or the worst "
        "end that any came to: failed, cancelled"
    )
    progress: float = Field(ge=0, le=1, description="the part of all variations that is made")
    position: int | None = Field(description="of a queued one among your own of the same queue, from 1; else null")
    queue: QueueClass
    model_id: str
    license: str | None = Field(description="of the model's weights; null where the model is no longer on offer")
    prompt: str
    music_length_ms: int
    created_at: str = Field(json_schema_extra={"format": "date-time"})
    started_at: str | None = Field(json_schema_extra={"format": "date-time"})
    ended_at: str | None = Field(json_schema_extra={"format": "date-time"})
    timing: GenerationTiming
    variations: list[VariationAnswer]
    links: GenerationLinks


class PageLinks(BaseModel):
    """Where to go on."""

    next: str | None = Field(description="the following page; null on the last")


class GenerationsAnswer(BaseModel):
    """A page of generations, newest first."""

    generations: list[GenerationAnswer]
    links: PageLinks
