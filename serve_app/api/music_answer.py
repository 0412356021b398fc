"""From sound to the HTTP answer that carries it."""

from __future__ import annotations

import re
import string
from urllib.parse import quote

from starlette.responses import Response

from deployments.messages import GenerationStart, ModelCard, MusicRequest
from serve_app.api.backend import Composed, SoundFile
from serve_app.audio.containers import ContainerFormat, Tags, encode
from serve_app.cache.keys import short_id

_HEADER_SAFE = string.punctuation + " "
_MAX_SLUG_CHARS = 48


def sound_file(composed: Composed, card: ModelCard, container: ContainerFormat) -> SoundFile:
    """Encodes the clip, which takes a while: not for an event loop."""
    clip = composed.clip
    num_channels, num_samples = clip.pcm.shape
    tags = tags_of(composed.start, card, num_samples, clip.sample_rate)
    return SoundFile(
        sound=encode(clip.pcm, clip.sample_rate, container, tags),
        media_type=container.media_type,
        sample_rate=clip.sample_rate,
        channels=num_channels,
        duration_ms=tags.duration_ms,
    )


def music_answer(
    file: SoundFile, start: GenerationStart, request: MusicRequest, card: ModelCard, container: ContainerFormat
) -> Response:
    """The file in one piece: but for what the cache says, the same answer whether it was kept or just made."""
    headers = music_headers(start, request, card, container, file.sample_rate, file.channels, file.duration_ms)
    return Response(file.sound, media_type=file.media_type, headers=headers)


def tags_of(start: GenerationStart, card: ModelCard, num_samples: int, sample_rate: int) -> Tags:
    """What the file says of itself; nothing that differs when the same is asked again."""
    return Tags(
        generation_id=generation_id(start),
        seed=start.seed,
        duration_ms=round(1000 * num_samples / sample_rate),
        model=card.name,
        license=card.license,
    )


def music_headers(
    start: GenerationStart,
    request: MusicRequest,
    card: ModelCard,
    container: ContainerFormat,
    sample_rate: int,
    num_channels: int,
    duration_ms: int,
) -> dict[str, str]:
    """The headers of an answer that carries the sound, whole or as a stream; its media type and length aside."""
    named = generation_id(start)
    headers = {
        "Content-Disposition": f'attachment; filename="{file_name(request.prompt, named, container)}"',
        "X-Generation-Id": named,
        "X-Seed": str(start.seed),
        "X-Duration-Ms": str(duration_ms),
        "X-Sample-Rate": str(sample_rate),
        "X-Channels": str(num_channels),
        "X-Model": quote(card.name, safe=_HEADER_SAFE),
        "X-Model-License": quote(card.license, safe=_HEADER_SAFE),
        "X-Cache": start.outcome,
    }
    if start.age_s is not None:
        headers["Age"] = str(start.age_s)
    return headers


def generation_id(start: GenerationStart) -> str:
    """The generation's name: see `short_id`."""
    return short_id(start.key)


def file_name(prompt: str, named: str, container: ContainerFormat) -> str:
    """The prompt's plain words, so that a folder of clips can be read, and enough of the id to tell takes apart."""
    slug = "-".join(re.findall("[a-z0-9]+", prompt.lower()))[:_MAX_SLUG_CHARS].strip("-")
    return f"{slug or 'music'}-{named[:8]}.{container.extension}"
