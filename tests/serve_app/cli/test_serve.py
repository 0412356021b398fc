"""The run itself, as a process, on a real Ray: it makes its clip, and however it ends, nothing of it is left."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import soundfile
import yaml

Start = Callable[..., subprocess.Popen[str]]

# How long an end may take.
END_S = 10.0


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start(tmp_path: Path, port: int, project_root: Path) -> Iterator[Start]:
    """Starts a run of the tone service in an empty folder."""
    runs: list[subprocess.Popen[str]] = []

    def start(
        args: dict[str, Any] | None = None, prefix: tuple[str, ...] = (), **options: str
    ) -> subprocess.Popen[str]:
        application = {
            "name": "tone",
            "import_path": "tests.serve_app.launcher.tone.deployment:build",
            "args": args or {},
        }
        file = {
            "proxy_location": "HeadOnly",
            "http_options": {"host": "127.0.0.1", "port": port},
            "applications": [application],
        }
        config = tmp_path / "tone.yaml"
        config.write_text(yaml.safe_dump(file))
        environment = {
            **os.environ,
            "CONFIG": str(config),
            "DURATION": "1.5",
            "PYTHONPATH": str(project_root),
            **options,
        }
        run = subprocess.Popen(
            [*prefix, sys.executable, "-m", "serve_app.cli.main", "serve"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        runs.append(run)
        return run

    yield start
    for run in runs:
        with run:
            run.kill()


def read_until(run: subprocess.Popen[str], text: str) -> list[str]:
    assert run.stdout is not None
    lines = []
    for line in run.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError("".join(lines))


@contextmanager
def nothing_left_of(run: subprocess.Popen[str], within_s: float = END_S) -> Iterator[None]:
    """What runs below `run` at the start is gone soon after the end, and so is its folder."""
    family = psutil.Process(run.pid).children(recursive=True)
    folders = {word for process in family for word in process.cmdline() if word.startswith("/tmp/musicgen-")}
    assert folders
    yield
    _, alive = psutil.wait_procs(family, timeout=within_s)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    assert [folder for folder in folders if Path(folder).exists()] == []


def test_once_ends_after_a_clip_of_the_length_asked(start: Start, tmp_path: Path) -> None:
    run = start(args={"kept_s": 60}, ONCE="1", PROMPT='it\'s "slow" & $low', SEED="42", CACHE="refresh")
    output, _ = run.communicate()
    assert run.returncode == 0, output
    info = soundfile.info(tmp_path / "clips" / "it-s-slow-low-42.wav")
    assert (info.format, info.duration) == ("WAV", 1.5)
    steps = (
        "checking",
        "starting Ray",
        "starting Serve",
        "loading the models",
        "ready",
        "making 1.5 s",
        "saved",
        "stopping",
    )
    places = [output.index(step) for step in steps]
    assert places == sorted(places)
    assert "model tone, licence of its weights CC0-1.0, seed 42" in output
    assert re.search(r"1\.5 s of music in \d+\.\d s \(real-time factor \d+\.\d\d\)", output)
    assert "Traceback" not in output
    assert sorted(os.listdir(tmp_path)) == ["clips", "tone.yaml"]


def test_ctrl_c_while_starting_is_a_calm_end(start: Start) -> None:
    run = start()
    read_until(run, "starting Serve")
    with nothing_left_of(run):
        os.killpg(run.pid, signal.SIGINT)
        output, _ = run.communicate(timeout=END_S)
    assert run.returncode == 130
    assert "Traceback" not in output
    assert output.endswith("stopped; nothing is left running\n")


@pytest.mark.slow
def test_a_kill_of_what_started_it_leaves_nothing(start: Start) -> None:
    run = start(prefix=("sh", "-c", '"$0" "$@" --parent $$; true'))
    read_until(run, "serving; Ctrl-C ends it")
    with nothing_left_of(run):
        run.kill()


@pytest.mark.slow
def test_a_deployment_that_fails_is_one_sentence_and_its_logs_are_kept(start: Start, tmp_path: Path) -> None:
    run = start(args={"failure": "the folder x is missing"})
    output, _ = run.communicate()
    assert run.returncode == 1
    assert "Tone: ValueError: the folder x is missing\n  the logs: build/run-logs\n" in output
    assert "Traceback" not in output
    kept = [path.read_text() for path in (tmp_path / "build" / "run-logs").rglob("*.log")]
    assert any("the folder x is missing" in text for text in kept)


@pytest.mark.slow
def test_a_clip_that_was_kept_is_said_to_be_no_new_one(start: Start) -> None:
    output, _ = start(args={"kept_s": 60}, ONCE="1").communicate()
    assert re.search(r"1\.5 s of music (at once|in \d\.\d s): the same words gave this clip 60 s ago", output)


@pytest.mark.slow
def test_a_kill_of_the_run_itself_leaves_nothing(start: Start) -> None:
    run = start()
    read_until(run, "serving; Ctrl-C ends it")
    with nothing_left_of(run):
        run.kill()


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_stopping_while_it_serves_is_the_way_it_ends(start: Start, signum: signal.Signals) -> None:
    run = start()
    output = read_until(run, "serving; Ctrl-C ends it")
    assert any(line.startswith("  curl -fS http://127.0.0.1:") for line in output)
    with nothing_left_of(run):
        run.send_signal(signum)
        rest, _ = run.communicate(timeout=END_S)
    assert run.returncode == 0
    assert "Traceback" not in rest


@pytest.mark.slow
def test_sigterm_while_starting_ends_with_143(start: Start) -> None:
    run = start()
    read_until(run, "starting Ray")
    with nothing_left_of(run):
        run.terminate()
        run.communicate(timeout=END_S)
    assert run.returncode == 143


@pytest.mark.slow
def test_a_clip_that_fails_fails_the_run_with_what_the_service_said(start: Start) -> None:
    run = start(args={"error": "out of tunes"}, ONCE="1")
    output, _ = run.communicate()
    assert run.returncode == 1
    assert "the service answered 500: out of tunes" in output


@pytest.mark.slow
def test_a_driver_that_dies_ends_the_run(start: Start) -> None:
    run = start()
    read_until(run, "serving; Ctrl-C ends it")
    [driver] = [
        each for each in psutil.Process(run.pid).children() if "serve_app.launcher.deployment" in each.cmdline()
    ]
    with nothing_left_of(run):
        driver.kill()
        output, _ = run.communicate(timeout=20)
    assert run.returncode == 1
    assert "the driver ended by itself" in output


def test_a_port_in_use_ends_the_run_before_anything_starts(start: Start, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        run = start()
        output, _ = run.communicate()
    assert run.returncode == 1
    assert f"port {port} on 127.0.0.1 is in use" in output
    assert "starting Ray" not in output
    assert "logs" not in output


def test_an_unknown_key_ends_the_run_before_anything_starts(start: Start, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("http_option: {port: 1}\n")
    run = start(CONFIG=str(wrong))
    output, _ = run.communicate()
    assert run.returncode == 1
    assert f"{wrong}: unknown key 'http_option', did you mean 'http_options'?" in output
    assert "starting Ray" not in output
