"""The clip a run asks its service for: the request, the check of the answer, the file."""

from __future__ import annotations

import io
import json
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import soundfile

from deployments.messages import CacheMode
from serve_app.client import KEY_VARIABLE, slug

# A clip takes as long as it takes: the service has a deadline of its own.
_TIMEOUT = httpx.Timeout(10, read=None)
# What a person does not notice.
_AT_ONCE_S = 0.5


class ClipError(Exception):
    """There is no clip, or not the one asked for; one sentence."""


@dataclass(frozen=True)
class Clip:
    """What the service answered. wav: the file's bytes. first_sound_s, took_s: from the request to its first and last.

    outcome: where it came from, as X-Cache has it. age_s: how long ago it was made, where it was kept.
    """

    prompt: str
    seed: int
    wav: bytes
    duration_s: float
    model: str
    license: str
    first_sound_s: float
    took_s: float
    outcome: str
    age_s: int | None = None

    @property
    def real_time_factor(self) -> float:
        """Seconds of music made in a second: above 1 is faster than listening to it."""
        return self.duration_s / self.took_s

    def document(self) -> dict[str, object]:
        """What a program is told of it."""
        return {
            "prompt": self.prompt,
            "duration_s": self.duration_s,
            "seed": self.seed,
            "model": self.model,
            "license": self.license,
            "cache": self.outcome,
            "first_sound_s": round(self.first_sound_s, 3),
            "took_s": round(self.took_s, 3),
        }

    def told(self, *, seed_given: bool, refresh: str = "CACHE=refresh") -> str:
        """How it came about, as the beginning of a sentence.

        Args:
            seed_given: The request had the seed, so a refresh keeps it.
            refresh: How to ask for another clip than the cached one.
        """
        quick = "at once" if self.took_s < _AT_ONCE_S else f"in {self.took_s:.1f} s"
        first = f"the first sound after {self.first_sound_s:.2f} s"
        ago = "" if self.age_s is None else f" {_rounded(self.age_s)} ago"
        same, again = ("words and seed", "makes it again") if seed_given else ("words", "makes another")
        refresh = f"({refresh} {again})"
        how = {
            "miss": f"in {self.took_s:.1f} s (real-time factor {self.real_time_factor:.2f}), {first}",
            "hit": f"{quick}: the same {same} gave this clip{ago} {refresh}",
            "cut": f"{quick}: the same {same} gave a longer clip{ago}, and this is its beginning {refresh}",
            "extended": f"{quick}: the same {same} gave a shorter clip, and this goes on from it {refresh}, {first}",
            "joined": f"{quick}: the same {same} were being made into this clip for another request, {first}",
        }
        return f"{self.duration_s:g} s of music {how[self.outcome]}"


def _rounded(age_s: int) -> str:
    if age_s < 120:
        return f"{age_s} s"
    return f"{age_s // 60} min" if age_s < 7200 else f"{age_s // 3600} h"


def ask(
    url: str,
    prompt: str,
    duration_ms: int,
    seed: int | None,
    cache: CacheMode,
    say: Callable[[str], None],
    api_key: str | None = None,
) -> Clip:
    """A clip from the service at `url`, found valid and of the length asked. say: how far it is, as sound comes in.

    Raises ClipError.
    """
    start = time.monotonic()
    body = _body(prompt, duration_ms, seed, cache)
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    try:
        with (
            httpx.Client(trust_env=False, timeout=_TIMEOUT) as client,
            client.stream("POST", f"{url}/v1/music/stream", json=body, headers=headers) as answer,
        ):
            if answer.status_code != 200:
                answer.read()
                hint = f" ({KEY_VARIABLE} is where one is looked for)" if answer.status_code == 401 else ""
                raise ClipError(f"the service answered {answer.status_code}: {_message(answer)}{hint}")
            first_sound_s = time.monotonic() - start
            wav = bytearray()
            for piece in answer.iter_raw():
                wav += piece
                made_s = len(wav) / int(answer.headers["Content-Length"]) * duration_ms / 1000
                say(made_so_far(made_s, duration_ms / 1000, time.monotonic() - start))
    except httpx.TransportError as error:
        raise ClipError(f"the service broke off the answer: {error}") from error
    took_s = time.monotonic() - start
    return Clip(
        prompt=prompt,
        seed=int(answer.headers["X-Seed"]),
        wav=bytes(wav),
        duration_s=checked_duration_s(bytes(wav), duration_ms),
        model=answer.headers["X-Model"],
        license=answer.headers["X-Model-License"],
        first_sound_s=first_sound_s,
        took_s=took_s,
        outcome=answer.headers["X-Cache"],
        age_s=int(answer.headers["Age"]) if "Age" in answer.headers else None,
    )


def made_so_far(made_s: float, duration_s: float, spent_s: float) -> str:
    """How far a clip is, and how fast: seconds of music made in a second."""
    return f"{made_s:.1f} of {duration_s:.1f} s made, real-time factor {made_s / spent_s:.2f}"


def checked_duration_s(wav: bytes, duration_ms: int) -> float:
    """The length of a WAV file in seconds, after reading it all. Raises ClipError unless it is sound of that length."""
    try:
        with soundfile.SoundFile(io.BytesIO(wav)) as file:
            kind, sample_rate = file.format, file.samplerate
            pcm = file.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ClipError(f"the answer is no sound file: {error}") from error
    if kind != "WAV":
        raise ClipError(f"the answer is a {kind} file, not WAV")
    if not np.isfinite(pcm).all():
        raise ClipError("the sound holds values that are no numbers")
    num_samples = round(duration_ms * sample_rate / 1000)
    if abs(len(pcm) - num_samples) > 1:
        raise ClipError(f"the clip has {len(pcm)} samples; {duration_ms / 1000:g} s would be {num_samples}")
    return float(len(pcm) / sample_rate)


def save(clip: Clip, folder: Path) -> Path:
    """The path of the clip in `folder`. A file already there is kept: the clip gets a number, if it isn't that file."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{slug(clip.prompt)}-{clip.seed}"
    number = 1
    while True:
        path = folder / (f"{name}.wav" if number == 1 else f"{name}-{number}.wav")
        try:
            with path.open("xb") as file:
                file.write(clip.wav)
        except FileExistsError:
            if path.read_bytes() != clip.wav:
                number += 1
                continue
        return path


def curl_line(url: str, prompt: str, duration_ms: int, *, with_key: bool = False) -> str:
    """A shell command that makes the next clip. with_key: it shows the API key in MUSICGEN_API_KEY."""
    key = '-H "Authorization: Bearer $MUSICGEN_API_KEY" ' if with_key else ""
    body = json.dumps(_body(prompt, duration_ms, None, "refresh"), ensure_ascii=False)
    return (
        f"curl -fS {shlex.quote(url + '/v1/music')} -H 'Content-Type: application/json' {key}"
        f"-d {shlex.quote(body)} -o next.wav"
    )


def _body(prompt: str, duration_ms: int, seed: int | None, cache: CacheMode) -> dict[str, str | int]:
    """The request, without what is the default."""
    body: dict[str, str | int] = {"prompt": prompt, "music_length_ms": duration_ms}
    if seed is not None:
        body["seed"] = seed
    if cache != "use":
        body["cache"] = cache
    return body


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200] or "nothing more"
