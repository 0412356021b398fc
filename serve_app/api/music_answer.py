"""From a clip to the HTTP answer that carries it."""

from __future__ import annotations

import re
import string
from urllib.parse import quote

from starlette.responses import Response

from deployments.messages import Clip, ModelCard, MusicRequest
from serve_app.api.generation_id import generation_id
from serve_app.audio.containers import ContainerFormat, Tags, encode

_HEADER_SAFE = string.punctuation + " "
_MAX_SLUG_CHARS = 48


def music_answer(clip: Clip, request: MusicRequest, card: ModelCard, container: ContainerFormat) -> Response:
    """Encodes the clip, which takes a while: not for an event loop."""
    tags = tags_of(request, card, clip.pcm.shape[1], clip.sample_rate)
    headers = music_headers(tags, request, container, clip.sample_rate, clip.pcm.shape[0])
    sound = encode(clip.pcm, clip.sample_rate, container, tags)
    return Response(sound, media_type=container.media_type, headers=headers)


def tags_of(request: MusicRequest, card: ModelCard, num_samples: int, sample_rate: int) -> Tags:
    """What the file and the headers say of the clip; nothing that differs when the same is asked again."""
    return Tags(
        generation_id=generation_id(card, request),
        seed=request.seed,
        duration_ms=round(1000 * num_samples / sample_rate),
        model=card.name,
        license=card.license,
    )


def music_headers(
    tags: Tags, request: MusicRequest, container: ContainerFormat, sample_rate: int, num_channels: int
) -> dict[str, str]:
    """The headers of an answer that carries the sound, whole or as a stream; its media type and length aside."""
    return {
        "Content-Disposition": f'attachment; filename="{file_name(request.prompt, tags.generation_id, container)}"',
        "X-Generation-Id": tags.generation_id,
        "X-Seed": str(tags.seed),
        "X-Duration-Ms": str(tags.duration_ms),
        "X-Sample-Rate": str(sample_rate),
        "X-Channels": str(num_channels),
        "X-Model": quote(tags.model, safe=_HEADER_SAFE),
        "X-Model-License": quote(tags.license, safe=_HEADER_SAFE),
    }


def file_name(prompt: str, generation_id: str, container: ContainerFormat) -> str:
    """The prompt's plain words, so that a folder of clips can be read, and enough of the id to tell takes apart."""
    slug = "-".join(re.findall("[a-z0-9]+", prompt.lower()))[:_MAX_SLUG_CHARS].strip("-")
    return f"{slug or 'music'}-{generation_id[:8]}.{container.extension}"
