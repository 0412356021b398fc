from __future__ import annotations

from pathlib import Path

import pytest

from serve_app.cli.compose import parse

CANARY = "canary 7f3a"


def test_what_is_not_said_is_left_to_the_service() -> None:
    options = parse(["a Tone!"], {})
    assert options.body == {"prompt": "a Tone!", "music_length_ms": 10_000}
    assert (options.url, options.key, options.container.name) == ("http://127.0.0.1:8000", None, "wav")
    assert options.path(0) == Path("a-tone.wav")


def test_what_is_said_is_what_the_service_is_asked(tmp_path: Path) -> None:
    arguments = f"--duration 1.5 --out {tmp_path}/clip.MP3 --url https://x.org/studio/ --model small --seed 7".split()
    options = parse(["a", *arguments, "--variations", "2", "--queue", "realtime", "--key", "k"], {})
    assert options.body == {
        "prompt": "a",
        "music_length_ms": 1500,
        "model_id": "small",
        "seed": 7,
        "variations": 2,
        "queue": "realtime",
    }
    assert (options.url, options.key, options.container.name) == ("https://x.org/studio", "k", "mp3")
    assert [options.path(number).name for number in range(2)] == ["clip-1.MP3", "clip-2.MP3"]
    assert options.audio_s == 3


def test_the_key_may_come_from_the_environment() -> None:
    assert parse(["a"], {"MUSICGEN_API_KEY": "k"}).key == "k"
    assert parse(["a", "--key", "mine"], {"MUSICGEN_API_KEY": "k"}).key == "mine"
    assert parse(["a"], {"MUSICGEN_API_KEY": ""}).key is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "words"),
        (["a", "--duration", "0"], "--duration"),
        (["a", "--duration", "nan"], "--duration"),
        (["a", "--out", "clip.txt"], ".wav, .flac, .mp3, .ogg, .pcm"),
        (["a", "--out", "/nowhere/clip.wav"], "does not exist"),
        (["a", "--url", "localhost:8000"], "http://127.0.0.1:8000"),
        (["a", "--url", "http://x:99999999"], "http://127.0.0.1:8000"),
        (["a", "--variations", "0"], "--variations"),
        (["a", "--queue", "express"], "batch"),
        (["a", "--key", CANARY], "printable"),
    ],
)
def test_what_can_t_be_used_is_told_with_what_can(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(arguments, {})
    told = capsys.readouterr().err
    assert said in told
    assert CANARY not in told
