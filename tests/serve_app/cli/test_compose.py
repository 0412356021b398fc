"""`musicgen compose` against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import soundfile
from starlette.types import Receive, Scope, Send

from serve_app.cli.main import main
from tests.serve_app.api.service import service
from tests.serve_app.cli.service import on_a_socket


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MUSICGEN_API_KEY", raising=False)


def compose(url: str, *arguments: str) -> int:
    return main(["compose", "a tone", "--duration", "1.5", "--url", url, *arguments])


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
def test_a_clip_is_saved_in_the_container_that_its_name_says(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with on_a_socket(service()) as url:
        assert compose(url, "--seed", "7", "--out", f"clip.{suffix}") == 0
    told = capsys.readouterr()
    assert told.out == f"clip.{suffix}\n"
    assert any(line.startswith("1.5 s of music in ") for line in told.err.splitlines())
    assert "seed 7, model etude, licence of its weights MIT" in told.err
    found = soundfile.info(tmp_path / f"clip.{suffix}")
    assert (found.format, found.duration) == (suffix.upper(), pytest.approx(1.5, abs=0.1))
    assert [path.name for path in tmp_path.iterdir()] == [f"clip.{suffix}"]


def test_no_file_that_is_there_is_written_over_unless_it_is_named(tmp_path: Path) -> None:
    with on_a_socket(service()) as url:
        for _ in range(2):
            assert compose(url) == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a-tone-2.wav", "a-tone.wav"]
        (tmp_path / "clip.wav").write_text("old")
        assert compose(url, "--out", "clip.wav") == 0
    assert soundfile.info(tmp_path / "clip.wav").duration == 1.5


def test_for_a_program_it_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    with on_a_socket(service()) as url:
        assert compose(url, "--seed", "7", "--out", "clip.wav", "--json") == 0
    clip = json.loads(capsys.readouterr().out)
    assert clip.items() >= {"file": "clip.wav", "seed": 7, "duration_s": 1.5, "model": "etude", "cache": "miss"}.items()


def test_without_a_service_one_line_says_how_to_start_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert compose(f"http://127.0.0.1:{port}") == 1
    told = capsys.readouterr()
    [line] = told.err.splitlines()
    assert line.startswith(f"There is no service at http://127.0.0.1:{port} ")
    assert "`musicgen serve` starts one" in line
    assert told.out == ""
    assert not list(tmp_path.iterdir())


def test_what_the_service_refuses_is_one_line_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    with on_a_socket(service()) as url:
        assert compose(url, "--model", "x") == 1
    assert "The service answered 422: model_id must be" in capsys.readouterr().err.splitlines()[-1]


class Slow:
    """Begins an answer, and goes on when it is told to: by breaking it off."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.ends = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"audio/wav"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})
        self.has_begun.set()
        while not self.ends.is_set():
            await asyncio.sleep(0.01)
        raise ConnectionError("lost")


def test_what_breaks_off_is_not_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow = Slow()
    slow.ends.set()
    with on_a_socket(slow) as url:
        assert compose(url) == 1
    assert "The service broke off its answer" in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_ctrl_c_leaves_no_half_of_a_file(tmp_path: Path, project_root: Path) -> None:
    slow = Slow()
    command = [sys.executable, "-m", "serve_app.cli.main", "compose", "a tone", "--out", "clip.wav", "--url"]
    environment = {**os.environ, "PYTHONPATH": str(project_root)}
    with on_a_socket(slow) as url:
        process = subprocess.Popen(
            [*command, url], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert slow.has_begun.wait(60)
            while not list(tmp_path.iterdir()):
                assert process.poll() is None
            os.kill(process.pid, signal.SIGINT)
            stdout, stderr = process.communicate(timeout=60)
        finally:
            slow.ends.set()
            process.kill()
            process.wait()
    assert (process.returncode, stdout) == (130, "")
    assert stderr.splitlines()[-1] == "stopped; nothing is saved"
    assert not list(tmp_path.iterdir())


def test_where_a_key_is_missing_it_is_said_where_one_is_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        content = b'{"error": {"type": "unauthenticated", "message": "No key.", "param": null}}'
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": content})

    with on_a_socket(refuse) as url:
        assert compose(url) == 1
    assert (
        capsys.readouterr().err == "The service answered 401: No key. (MUSICGEN_API_KEY is where a key is looked for)\n"
    )
