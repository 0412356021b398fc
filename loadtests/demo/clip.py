"""A clip that is asked for, and what came of it when."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from serve_app.client import slug
from serve_app.launcher.clip import ClipError, checked_duration_s

FRAME_RATE = 50
_NAME_DIGITS = 16
SCENES = (
    "a calm piano over soft strings",
    "lo-fi beats on a rainy evening",
    "a slow blues on an old guitar",
    "a brass band in the morning sun",
    "a waltz for two accordions",
    "synthesizers over a night drive",
    "a harp by the water",
    "drums and bass in an empty hall",
)


@dataclass(frozen=True)
class Wish:
    """streamed: its sound is taken while it is made; otherwise it is waited for."""

    number: int
    prompt: str
    seed: int
    duration_ms: int
    streamed: bool

    @property
    def path(self) -> str:
        return "/v1/music/stream" if self.streamed else "/v1/music"

    @property
    def way(self) -> str:
        return "streamed" if self.streamed else "waited for"

    @property
    def num_frames(self) -> int:
        return self.duration_ms * FRAME_RATE // 1000

    @property
    def file_name(self) -> str:
        return f"{self.number:02}-{slug(self.prompt)}.wav"

    @property
    def body(self) -> Mapping[str, object]:
        """The request, which neither takes from the cache nor leaves anything there."""
        return {"prompt": self.prompt, "seed": self.seed, "music_length_ms": self.duration_ms, "cache": "off"}


@dataclass
class Take:
    """What has come of a wish. times_s, frames: since all were asked for, and how many frames of music were there by
    then. generation: the first digits of its name, as the service's log has them. error: why there is no clip.
    """

    wish: Wish
    wav: bytearray = field(default_factory=bytearray)
    times_s: list[float] = field(default_factory=list)
    frames: list[float] = field(default_factory=list)
    generation: str | None = None
    whole: bool = False
    error: str | None = None

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.wav).hexdigest()

    @property
    def frames_here(self) -> float:
        return self.frames[-1] if self.frames else 0.0

    @property
    def longest_wait_s(self) -> float:
        """Without a sound of it, from the request to the end."""
        starts_s = [0.0, *self.times_s]
        return max((end_s - start_s for start_s, end_s in zip(starts_s, self.times_s, strict=False)), default=0.0)

    async def fulfil(self, client: httpx.AsyncClient, began_s: float) -> None:
        """Until the clip is whole, or has failed. began_s: by `time.monotonic`, when all were asked for."""
        try:
            async with client.stream("POST", self.wish.path, json=self.wish.body) as answer:
                if answer.status_code != 200:
                    self.error = f"{answer.status_code}: {(await answer.aread()).decode(errors='replace')[:200]}"
                    return
                self.generation = answer.headers["X-Generation-Id"][:_NAME_DIGITS]
                size_bytes = int(answer.headers["Content-Length"])
                async for piece in answer.aiter_raw():
                    self.wav += piece
                    self.times_s.append(time.monotonic() - began_s)
                    self.frames.append(self.wish.num_frames * len(self.wav) / size_bytes)
            checked_duration_s(bytes(self.wav), self.wish.duration_ms)
            self.whole = True
        except httpx.TransportError as error:
            self.error = f"it broke off after {self.frames_here:.0f} frames: {error}"
        except ClipError as error:
            self.error = str(error)
