from __future__ import annotations

from pathlib import Path

import pytest

from serve_app.cli import jobs
from serve_app.cli.jobs import SubmitCommand
from serve_app.cli.main import main
from serve_app.cli.options import CONTAINERS, CacheChoice, QueueChoice
from serve_app.job import QUEUE_CLASSES
from serve_app.sound.containers import CONTAINER_FORMATS

CANARY = "canary 7f3a"


@pytest.fixture(autouse=True)
def _no_key_of_whoever_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUSICGEN_API_KEY", raising=False)
    monkeypatch.delenv("MUSICGEN_URL", raising=False)


def submitted(arguments: list[str], key: str | None = None) -> SubmitCommand:
    """What these options of `jobs submit` mean. key: in the environment."""
    told: list[SubmitCommand] = []

    def run(submission: SubmitCommand, *, detach: bool, as_json: bool) -> int:
        told.append(submission)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "run_submission", run)
        if key is not None:
            patch.setenv("MUSICGEN_API_KEY", key)
        assert main(["jobs", "submit", *arguments]) == 0
    [submission] = told
    return submission


def test_what_is_not_said_is_left_to_the_service() -> None:
    options = submitted(["a Tone!"])
    assert options.body == {"prompt": "a Tone!", "music_length_ms": 10_000}
    assert (options.url, options.key, options.target.container) == ("http://127.0.0.1:8000", None, "wav")
    assert options.target.path(0) == Path("a-tone.wav")


def test_what_is_said_is_what_the_service_is_asked(tmp_path: Path) -> None:
    arguments = f"--duration 1.5 --out {tmp_path}/clip.MP3 --url https://x.org/studio/ --model small --seed 7".split()
    options = submitted(["a", *arguments, "--variations", "2", "--queue", "realtime", "--key", "k"])
    assert options.body == {
        "prompt": "a",
        "music_length_ms": 1500,
        "model_id": "small",
        "seed": 7,
        "variations": 2,
        "queue": "realtime",
    }
    assert (options.url, options.key, options.target.container) == ("https://x.org/studio", "k", "mp3")
    assert [options.target.path(number).name for number in range(2)] == ["clip-1.MP3", "clip-2.MP3"]
    assert options.audio_s == 3


def test_the_key_may_come_from_the_environment() -> None:
    assert submitted(["a"], "k").key == "k"
    assert submitted(["a", "--key", "mine"], "k").key == "mine"
    assert submitted(["a"], "").key is None


def test_the_choices_are_those_of_the_service() -> None:
    assert {each.value for each in QueueChoice} == set(QUEUE_CLASSES)
    assert {each.value for each in CacheChoice} == {"use", "refresh", "off"}
    assert {f".{each.extension}": each.name for each in CONTAINER_FORMATS.values()} == CONTAINERS


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
    assert main(["jobs", "submit", *arguments]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert CANARY not in told
