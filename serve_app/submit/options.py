"""What the command is told."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from serve_app.audio.containers import CONTAINER_FORMATS, ContainerFormat
from serve_app.jobs.job import QUEUE_CLASSES
from serve_app.run.clip import slug

DEFAULT_URL = "http://127.0.0.1:8000"
KEY_VARIABLE = "MUSICGEN_API_KEY"

_BY_SUFFIX = {f".{container.extension}": container for container in CONTAINER_FORMATS.values()}


@dataclass(frozen=True)
class Options:
    """body: as POST /v1/generations takes it. key: None where none is needed. out: of the clip; several get numbers."""

    body: Mapping[str, Any]
    url: str
    key: str | None
    out: Path
    container: ContainerFormat

    @property
    def variations(self) -> int:
        return int(self.body.get("variations", 1))

    @property
    def audio_s(self) -> float:
        """Seconds of music, of all variations."""
        return float(self.variations * self.body["music_length_ms"] / 1000)

    def path(self, number: int) -> Path:
        """Where a variation goes: clip.mp3, or clip-1.mp3 and so on."""
        return self.out if self.variations == 1 else self.out.with_stem(f"{self.out.stem}-{number + 1}")


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Options:
    """The options. Ends the process with status 2 and a line on stderr where one can't be used."""
    parser = argparse.ArgumentParser(
        prog="python -m serve_app.submit", description="Have music made by a running service, and save it."
    )
    parser.add_argument("words", help="what the music is like")
    parser.add_argument("--duration", type=_seconds, default=10.0, metavar="SECONDS", help="of music; 10 without")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"where to; its end says how: {', '.join(_BY_SUFFIX)}")
    parser.add_argument("--url", default=DEFAULT_URL, help=f"of the service; {DEFAULT_URL} without")
    parser.add_argument("--model", help="one that the service lists at /v1/models")
    parser.add_argument("--seed", type=int, help="the same seed with the same words gives the same sound")
    parser.add_argument("--variations", type=int, metavar="N", help="so many takes of the same words")
    parser.add_argument("--queue", choices=QUEUE_CLASSES, help="realtime goes first")
    parser.add_argument("--key", help=f"an API key; better in the variable {KEY_VARIABLE}, where others don't see it")
    given = parser.parse_args(arguments)
    out: Path = given.out or Path(f"{slug(given.words)}.wav")
    if out.suffix.lower() not in _BY_SUFFIX:
        parser.error(f"--out must end in one of {', '.join(_BY_SUFFIX)}")
    if not out.parent.is_dir():
        parser.error(f"--out is in a folder that does not exist: {out.parent}")
    if given.variations is not None and given.variations < 1:
        parser.error("--variations must be 1 or more")
    if not _is_address(given.url):
        parser.error(f"--url must be an address like {DEFAULT_URL}")
    key = given.key or environment.get(KEY_VARIABLE) or None
    if key is not None and not re.fullmatch("[!-~]+", key):
        parser.error("the API key must be printable ASCII without spaces")
    body = {
        "prompt": given.words,
        "music_length_ms": round(1000 * given.duration),
        "model_id": given.model,
        "seed": given.seed,
        "variations": given.variations,
        "queue": given.queue,
    }
    body = {name: value for name, value in body.items() if value is not None}
    return Options(body, given.url.rstrip("/"), key, out, _BY_SUFFIX[out.suffix.lower()])


def _is_address(url: str) -> bool:
    try:
        port = httpx.URL(url).port
    except httpx.InvalidURL:
        return False
    if port is not None and not 0 < port < 2**16:
        return False
    return re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url) is not None


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds >= 0.001):
        raise ValueError
    return seconds
