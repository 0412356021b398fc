"""The clip a run asks its service for: the request, the check of the answer, the file."""

from __future__ import annotations

import io
import json
import re
import shlex
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import soundfile

_SLUG_CHARACTERS = 48
# A clip takes as long as it takes: the service has a deadline of its own.
_TIMEOUT = httpx.Timeout(10, read=None)


class ClipError(Exception):
    """There is no clip, or not the one asked for; one sentence."""


@dataclass(frozen=True)
class Clip:
    """What the service made. wav: the file's bytes. first_sound_s, took_s: from the request to its first and last."""

    prompt: str
    seed: int
    wav: bytes
    duration_s: float
    model: str
    license: str
    first_sound_s: float
    took_s: float

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for each second of music: below 1 is faster than listening to it."""
        return self.took_s / self.duration_s


def ask(url: str, prompt: str, duration_ms: int, seed: int | None, say: Callable[[str], None]) -> Clip:
    """A clip from the service at `url`, found valid and of the length asked. say: how far it is, as sound comes in.

    Raises ClipError.
    """
    start = time.monotonic()
    try:
        with (
            httpx.Client(trust_env=False, timeout=_TIMEOUT) as client,
            client.stream("POST", f"{url}/v1/music/stream", json=_body(prompt, duration_ms, seed)) as answer,
        ):
            if answer.status_code != 200:
                answer.read()
                raise ClipError(f"the service answered {answer.status_code}: {_message(answer)}")
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
    )


def made_so_far(made_s: float, duration_s: float, spent_s: float) -> str:
    """How far a clip is, and how fast: seconds of work for each second of music."""
    return f"{made_s:.1f} of {duration_s:.1f} s made, real-time factor {spent_s / made_s:.2f}"


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


def slug(prompt: str) -> str:
    """A prompt's words as a part of a file's name, in any script; "clip" if there is none."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", prompt).lower())
    return "-".join(words)[:_SLUG_CHARACTERS].strip("-_") or "clip"


def curl_line(url: str, prompt: str, duration_ms: int) -> str:
    """A shell command that makes the next clip."""
    body = json.dumps(_body(prompt, duration_ms, None), ensure_ascii=False)
    return (
        f"curl -fS {shlex.quote(url + '/v1/music')} -H 'Content-Type: application/json' "
        f"-d {shlex.quote(body)} -o next.wav"
    )


def _body(prompt: str, duration_ms: int, seed: int | None) -> dict[str, str | int]:
    body: dict[str, str | int] = {"prompt": prompt, "music_length_ms": duration_ms}
    return body if seed is None else {**body, "seed": seed}


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200] or "nothing more"
