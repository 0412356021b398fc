from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from etude.language_model.audio_folder import find_files, read_sound
from etude.language_model.resampling import resample


def write_sound(path: Path, *, rate: int = 8000, channels: int = 1, seconds: float = 0.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    time_s = np.arange(round(rate * seconds)) / rate
    tones = [0.5 * np.sin(2 * np.pi * 440 * (k + 1) * time_s) for k in range(channels)]
    soundfile.write(path, np.stack(tones, axis=1), rate)


def test_texts_lie_beside_their_sounds(tmp_path: Path) -> None:
    for name in ("b.wav", "a.flac", "more/c.ogg"):
        write_sound(tmp_path / name)
        (tmp_path / name).with_suffix(".txt").write_text(f"the  sound {name}\n\nanother\n")
    (tmp_path / "notes.md").write_text("no sound")
    files = find_files(tmp_path)
    assert [file.path.name for file in files] == ["a.flac", "b.wav", "c.ogg"]
    assert files[0].texts == ("the sound a.flac", "another")


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_a_list_says_it_too(name: str, tmp_path: Path) -> None:
    rows = [("b.wav", "rain"), ("a.wav", "wind, and\nsea"), ("b.wav", "more rain")]
    for file, _ in rows:
        write_sound(tmp_path / file)
    if name.endswith("csv"):
        quoted = "".join(f'{file},"{text}",x\n' for file, text in rows)
        (tmp_path / name).write_text(f"file_name,text,other\n{quoted}")
    else:
        lines = (json.dumps({"file_name": file, "text": text, "other": 1}) for file, text in rows)
        (tmp_path / name).write_text("\n".join(lines) + "\n\n")
    assert [(file.path.name, file.texts) for file in find_files(tmp_path)] == [
        ("a.wav", ("wind, and sea",)),
        ("b.wav", ("rain", "more rain")),
    ]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="neither shards"):
        find_files(tmp_path)
    write_sound(tmp_path / "a.wav")
    with pytest.raises(ValueError, match=r"a\.wav and 0 others .* have no description: put a \.txt"):
        find_files(tmp_path)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "b.wav", "text": "rain"}\n')
    with pytest.raises(FileNotFoundError, match=r"lists b\.wav"):
        find_files(tmp_path)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.wav", "caption": "rain"}\n')
    with pytest.raises(ValueError, match=r"row 1 of .* must have a file_name and a text"):
        find_files(tmp_path)
    (tmp_path / "metadata.jsonl").write_text("{")
    with pytest.raises(ValueError, match="can't be read"):
        find_files(tmp_path)


def test_sound_comes_at_the_rate_and_in_the_channels_wanted(tmp_path: Path) -> None:
    write_sound(tmp_path / "stereo.wav", rate=44100, channels=2)
    stereo = read_sound(tmp_path / "stereo.wav", sample_rate=32000, channels=2)
    assert (stereo.shape, stereo.dtype) == ((2, 16000), np.float32)
    mono = read_sound(tmp_path / "stereo.wav", sample_rate=32000, channels=1)
    np.testing.assert_allclose(mono[0], stereo.mean(axis=0), atol=1e-6)
    write_sound(tmp_path / "mono.wav")
    assert read_sound(tmp_path / "mono.wav", sample_rate=8000, channels=2).shape == (1, 4000)
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(ValueError, match="can't be read as sound"):
        read_sound(tmp_path / "text.wav", sample_rate=8000, channels=1)


def test_a_tone_keeps_its_pitch_and_level_at_another_rate() -> None:
    time_s = np.arange(44100) / 44100
    tone = np.sin(2 * np.pi * 1000 * time_s).astype(np.float32)[None]
    resampled = resample(tone, 44100, 32000)
    expected = np.sin(2 * np.pi * 1000 * np.arange(32000) / 32000)
    np.testing.assert_allclose(resampled[0, 1000:-1000], expected[1000:-1000], atol=2e-3)
    assert resample(tone, 44100, 44100) is tone
