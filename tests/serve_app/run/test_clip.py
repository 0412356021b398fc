"""A clip is saved only if it is what was asked for, and never in place of another."""

from __future__ import annotations

import dataclasses
import io
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serve_app.run.clip import Clip, ClipError, checked_duration_s, curl_line, made_so_far, save, slug


def sound(num_samples: int, kind: str = "WAV", value: float = 0.5) -> bytes:
    file = io.BytesIO()
    subtype = "FLOAT" if kind == "WAV" else None
    soundfile.write(file, np.full(num_samples, value), 32_000, format=kind, subtype=subtype)
    return file.getvalue()


def clip(wav: bytes) -> Clip:
    return Clip(prompt="A b", seed=3, wav=wav, duration_s=1.0, model="m", license="MIT", first_sound_s=0.1, took_s=0.5)


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
    assert '{"prompt": "it\'s \\"$5\\" `id` \\\\ 音", "music_length_ms": 1500}' in words


def test_the_real_time_factor_is_work_per_second_of_music() -> None:
    assert dataclasses.replace(clip(b""), took_s=5.0, duration_s=10.0).real_time_factor == 0.5


def test_progress_says_how_much_is_made_and_how_fast() -> None:
    assert made_so_far(3.2, 10, 1.6) == "3.2 of 10.0 s made, real-time factor 0.50"
