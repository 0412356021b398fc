"""`musicgen jobs` against a real server."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app import client as client_module
from serve_app.cli.main import main
from serve_app.cli.terminal import Bar
from serve_app.client import Client, ClientError
from tests.serve_app.api.jobs_reference import DecodingBackend, job_service
from tests.serve_app.cli.service import Stepping, on_a_socket

BODY = {"prompt": "a tone", "music_length_ms": 100}


def run(url: str, out: Path, *arguments: str) -> int:
    return main(["jobs", "submit", "a tone", "--duration", "0.1", "--url", url, "--out", str(out), *arguments])


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
def test_a_clip_is_made_and_saved(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / f"clip.{suffix}"
    with on_a_socket(job_service(Stepping())) as url:
        assert run(url, out, "--seed", "7") == 0
    told = capsys.readouterr()
    assert told.out == f"{out}\n"
    assert told.err == "queued, number 1\nmaking\nmade\n"
    assert soundfile.info(out).format == suffix.upper()
    assert list(tmp_path.iterdir()) == [out]


def test_several_takes_are_several_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with on_a_socket(job_service(Stepping())) as url:
        assert run(url, tmp_path / "clip.wav", "--variations", "3") == 0
    paths = [tmp_path / f"clip-{number}.wav" for number in (1, 2, 3)]
    assert capsys.readouterr().out.splitlines() == [str(path) for path in paths]
    assert sorted(tmp_path.iterdir()) == paths
    assert len({path.read_bytes() for path in paths}) == 3


def test_what_was_made_is_saved_where_another_take_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with on_a_socket(job_service(Stepping(fails=(0,)))) as url:
        assert run(url, tmp_path / "clip.wav", "--variations", "2") == 1
    told = capsys.readouterr()
    assert told.out == f"{tmp_path / 'clip-2.wav'}\n"
    assert "variation 1 failed: It failed." in told.err


def test_no_service_is_one_line_that_says_how_to_start_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert run(f"http://127.0.0.1:{port}", tmp_path / "clip.wav") == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "`musicgen serve` starts one" in line
    assert not list(tmp_path.iterdir())


def test_what_the_service_refuses_is_one_line_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with on_a_socket(job_service(Stepping())) as url:
        assert run(url, tmp_path / "clip.wav", "--model", "x") == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line == "The service answered 422: model_id must be one of: etude, small."


class Proxy:
    """Stands between the command and the service, and loses answers: of each path's first ones all but the first so
    many messages, as `cut` has them. asked: the headers of what came.
    """

    def __init__(self, app: ASGIApp, cut: dict[str, list[int]]) -> None:
        self.app = app
        self.cut = cut
        self.asked: list[tuple[str, dict[str, str]]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        what = f"{scope['method']} {scope['path'].rpartition('/')[2]}"
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.asked.append((what, headers))
        cuts = self.cut.get(what)
        left = cuts.pop(0) if cuts else None

        async def lossy(message: Message) -> None:
            nonlocal left
            if left == 0:
                raise ConnectionError("lost")
            left = None if left is None else left - 1
            await send(message)

        await self.app(scope, receive, lossy)


def test_a_lost_answer_costs_neither_a_second_clip_nor_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_pause_s", lambda failures: 0.0)
    jobs = Stepping()
    cuts = {"POST generations": [1, 1], "GET events": [3, 1, 3], "GET audio": [1, 1]}
    proxy = Proxy(job_service(jobs, DecodingBackend()), cuts)
    out = tmp_path / "clip.wav"
    with on_a_socket(proxy) as url:
        assert run(url, out, "--variations", "1") == 0
    assert not any(cuts.values())
    assert len(jobs.submissions) == 1
    assert len({headers["idempotency-key"] for what, headers in proxy.asked if what == "POST generations"}) == 1
    known = [headers.get("last-event-id") for what, headers in proxy.asked if what == "GET events"]
    assert known[0] is None
    assert known[1:] == sorted(known[1:], key=lambda each: int(each or 0))
    assert known[-1] is not None
    assert soundfile.info(out).duration == pytest.approx(0.1)
    assert list(tmp_path.iterdir()) == [out]


def test_a_service_that_is_busy_is_asked_again_when_it_says() -> None:
    answers = [(429, "3"), (503, None), (503, "x"), (202, None)]
    pauses: list[float] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        status, after = answers.pop(0)
        headers = [(b"content-type", b"application/json")] + (
            [] if after is None else [(b"retry-after", after.encode())]
        )
        content = b'{"error": {"type": "t", "message": "Busy.", "param": null}}'
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    with on_a_socket(app) as url, Client(url, None, pauses.append) as client:
        client.submit(BODY, "a")
    assert pauses == [3.0, 2.0, 4.0]


def test_a_service_that_is_broken_is_not_asked_again() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ConnectionError("lost")

    pauses: list[float] = []
    with on_a_socket(app) as url, Client(url, None, pauses.append) as client:
        with pytest.raises(ClientError, match="500"):  # uvicorn's own
            client.submit(BODY, "a")
        with pytest.raises(ClientError, match="answered 500"):
            list(client.follow("0" * 32))
    assert not pauses


def test_the_key_goes_to_the_service_and_into_no_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proxy = Proxy(job_service(Stepping()), {})
    with on_a_socket(proxy) as url:
        assert run(url, tmp_path / "clip.wav", "--key", "canary-7f3a", "--model", "x") == 1
    assert [headers["authorization"] for _, headers in proxy.asked] == ["Bearer canary-7f3a"]
    assert "canary" not in str(capsys.readouterr())


def test_one_that_is_removed_meanwhile_is_told(tmp_path: Path) -> None:
    with on_a_socket(job_service(Stepping())) as url, Client(url, None, lambda pause_s: None) as client:
        with pytest.raises(ClientError, match="no such generation"):
            list(client.follow("0" * 32))
        assert client.cancel("0" * 32) is False


def test_a_file_that_can_t_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clip.wav").mkdir()
    with on_a_socket(job_service(Stepping())) as url:
        assert run(url, tmp_path / "clip.wav") == 1
    assert "can't be written" in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["clip.wav"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_there_is_a_bar() -> None:
    def generation(state: str, progress: float, position: int | None = None) -> dict[str, Any]:
        return {"state": state, "progress": progress, "position": position}

    terminal = Terminal()
    with Bar(terminal, 20.0) as bar:
        for each in (generation("queued", 0, 3), generation("running", 0.25), generation("succeeded", 1)):
            bar.show(each)
    frames = terminal.getvalue().split("\r")
    assert any("queued, number 3" in frame for frame in frames)
    assert any("making:  25%" in frame and "5.0 of 20.0 s of music" in frame for frame in frames)
    assert "made: 100%" in frames[-1]


def test_ctrl_c_cancels_the_generation_and_says_so(tmp_path: Path, project_root: Path) -> None:
    jobs = Stepping(stays=True)
    command = [sys.executable, "-m", "serve_app.cli.main", "jobs", "submit", "a tone"]
    command += ["--out", str(tmp_path / "clip.wav"), "--url"]
    with on_a_socket(job_service(jobs)) as url:
        process = subprocess.Popen(
            [*command, url], cwd=project_root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert jobs.followed.wait(60)
            os.kill(process.pid, signal.SIGINT)
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
        [generation] = httpx.get(f"{url}/v1/generations", trust_env=False).json()["generations"]
    assert (process.returncode, stdout) == (130, "")
    assert stderr.splitlines()[-1] == "cancelled"
    assert generation["state"] == "cancelled"
    assert len(jobs.submissions) == 1
    assert not list(tmp_path.iterdir())


def test_the_sound_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "clip.wav"
    with on_a_socket(job_service(Stepping())) as url:
        assert run(url, out, "--seed", "7") == 0
        body = {**BODY, "seed": 7}
        music = httpx.post(f"{url}/v1/music", json=body, trust_env=False).content
    assert out.read_bytes() == music
    assert np.abs(soundfile.read(out)[0]).max() > 0.1


def test_a_service_that_breaks_every_answer_off_is_given_up() -> None:
    pauses: list[float] = []
    cuts = {"POST generations": [1] * 100, "GET events": [1] * 100}
    with on_a_socket(Proxy(job_service(Stepping()), cuts)) as url, Client(url, None, pauses.append) as client:
        with pytest.raises(ClientError, match="does not answer"):
            client.submit(BODY, "a")
        assert pauses == [1, 2, 4, 8, 15, 15, 15]
        [generation] = httpx.get(f"{url}/v1/generations", trust_env=False).json()["generations"]
        with pytest.raises(ClientError, match=f"may go on: {url}/v1/generations/{generation['id']}"):
            list(client.follow(generation["id"]))
