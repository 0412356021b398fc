"""A clip is saved only if it is what was asked for, and never in place of another."""

from __future__ import annotations

import dataclasses
import io
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import soundfile
import uvicorn

from deployments.messages import CacheMode, Outcome
from serve_app.client import slug
from serve_app.launcher.clip import Clip, ClipError, ask, checked_duration_s, curl_line, made_so_far, save
from tests.serve_app.api.service import AGE_S, service


def sound(num_samples: int, kind: str = "WAV", value: float = 0.5) -> bytes:
    file = io.BytesIO()
    subtype = "FLOAT" if kind == "WAV" else None
    soundfile.write(file, np.full(num_samples, value), 32_000, format=kind, subtype=subtype)
    return file.getvalue()


def clip(wav: bytes) -> Clip:
    return Clip(
        prompt="A b",
        seed=3,
        wav=wav,
        duration_s=1.0,
        model="m",
        license="MIT",
        first_sound_s=0.1,
        took_s=0.5,
        outcome="miss",
    )


def test_a_clip_of_the_length_asked_passes() -> None:
    assert checked_duration_s(sound(32_000), 1000) == 1.0
    assert checked_duration_s(sound(80_032), 2501) == 2.501


@pytest.mark.parametrize(
    ("wav", "said"),
    [
        (sound(31_000), "the clip has 31000 samples; 1 s would be 32000"),
        (sound(32_000)[:40_000], "the clip has "),
        (sound(32_000, "FLAC"), "FLAC file, not WAV"),
        (sound(32_000, value=float("nan")), "no numbers"),
        (b"", "no sound file"),
        (b"RIFF....", "no sound file"),
        (b'{"error": {}}', "no sound file"),
    ],
)
def test_anything_else_is_refused(wav: bytes, said: str) -> None:
    with pytest.raises(ClipError, match=said):
        checked_duration_s(wav, 1000)


def test_no_other_clip_is_written_over(tmp_path: Path) -> None:
    first = save(clip(b"one"), tmp_path / "clips")
    assert first == tmp_path / "clips" / "a-b-3.wav"
    assert save(clip(b"one"), tmp_path / "clips") == first
    second = save(clip(b"two"), tmp_path / "clips")
    assert second.name == "a-b-3-2.wav"
    assert save(clip(b"two"), tmp_path / "clips") == second
    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"two")


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a 30-second grand piano jazz improvisation", "a-30-second-grand-piano-jazz-improvisation"),
        ("../../etc/passwd", "etc-passwd"),
        ("静かな ピアノ", "静かな-ピアノ"),
        ("?!…", "clip"),
        ("x" * 2000, "x" * 48),
    ],
)
def test_a_files_name_is_the_prompts_words(prompt: str, name: str) -> None:
    assert slug(prompt) == name


def test_the_curl_line_survives_a_shell_whatever_the_prompt() -> None:
    prompt = 'it\'s "$5" `id` \\ 音'
    line = curl_line("http://127.0.0.1:8000", prompt, 1500)
    words = subprocess.run(["sh", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True).stdout
    assert words.splitlines() == shlex.split(line)
    assert '{"prompt": "it\'s \\"$5\\" `id` \\\\ 音", "music_length_ms": 1500, "cache": "refresh"}' in words


def test_the_real_time_factor_is_seconds_of_music_made_in_a_second() -> None:
    assert dataclasses.replace(clip(b""), took_s=5.0, duration_s=10.0).real_time_factor == 2.0


def test_progress_says_how_much_is_made_and_how_fast() -> None:
    assert made_so_far(3.2, 10, 1.6) == "3.2 of 10.0 s made, real-time factor 2.00"


def test_whoever_gave_the_seed_is_not_promised_another_clip() -> None:
    made = dataclasses.replace(clip(b""), outcome="hit", age_s=1)
    assert made.told(seed_given=True).endswith(
        "the same words and seed gave this clip 1 s ago (CACHE=refresh makes it again)"
    )


def test_every_outcome_there_is_can_be_told() -> None:
    told = {dataclasses.replace(clip(b""), outcome=each).told(seed_given=False) for each in get_args(Outcome)}
    assert len(told) == len(get_args(Outcome))


@pytest.mark.parametrize(
    ("outcome", "age_s", "took_s", "told"),
    [
        ("miss", None, 3.0, "10 s of music in 3.0 s (real-time factor 3.33), the first sound after 0.10 s"),
        (
            "hit",
            12,
            0.04,
            "10 s of music at once: the same words gave this clip 12 s ago (CACHE=refresh makes another)",
        ),
        ("hit", 7199, 0.9, "10 s of music in 0.9 s: the same words gave this clip 119 min ago "),
        (
            "cut",
            86_399,
            0.1,
            "10 s of music at once: the same words gave a longer clip 23 h ago, and ",
        ),
        ("extended", None, 1.0, "10 s of music in 1.0 s: the same words gave a shorter clip, and this goes on "),
        ("joined", None, 2.0, "10 s of music in 2.0 s: the same words were being made into this clip for another "),
    ],
)
def test_a_person_is_told_whether_it_was_made_kept_or_both(
    outcome: str, age_s: int | None, took_s: float, told: str
) -> None:
    made = dataclasses.replace(clip(b""), outcome=outcome, age_s=age_s, took_s=took_s, duration_s=10.0)
    assert made.told(seed_given=False).startswith(told)


@pytest.fixture
def url() -> Iterator[str]:
    """The real HTTP surface over a backend of a few lines, on a socket."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(service(), lifespan="off", ws="none", log_config=None))
    serving = threading.Thread(target=server.run, args=([listener],))
    serving.start()
    yield "http://{}:{}".format(*listener.getsockname())
    server.should_exit = True
    serving.join()
    listener.close()


def test_the_same_words_again_are_the_same_clip_until_it_is_refreshed(url: str) -> None:
    modes: tuple[CacheMode, ...] = ("use", "use", "refresh", "off")
    first, again, other, off = (ask(url, "a tone", 1500, None, cache, lambda text: None) for cache in modes)
    assert (first.outcome, first.age_s) == ("miss", None)
    assert (again.outcome, again.age_s, again.wav, again.seed) == ("hit", AGE_S, first.wav, first.seed)
    assert (other.outcome, off.outcome) == ("miss", "miss")
    assert len({first.seed, other.seed, off.seed}) == 3


def test_a_seed_and_a_length_go_with_the_request(url: str) -> None:
    heard: list[str] = []
    made = ask(url, "a tone", 2500, 2**64 - 1, "use", heard.append)
    assert (made.seed, made.duration_s) == (2**64 - 1, 2.5)
    assert heard[-1].startswith("2.5 of 2.5 s made")


def test_what_the_service_refuses_is_said_in_its_words(url: str) -> None:
    with pytest.raises(ClipError, match="answered 422: music_length_ms must be"):
        ask(url, "a tone", 40_000, None, "use", lambda text: None)
