"""What the demonstration says is what happened: its parts one by one, and once the whole thing."""

from __future__ import annotations

import asyncio
import io
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import soundfile
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loadtests.demo.client import ask
from loadtests.demo.clip import Take, Wish
from loadtests.demo.killing import Killing, losses, replicas_added
from loadtests.demo.picture import draw
from loadtests.demo.table import Comparison, table, verdict
from loadtests.demo.workers import language_models
from loadtests.demo_kill import save, wishes
from loadtests.measuring.running import Running
from serve_app.cli.terminal import Progress

PNG = b"\x89PNG\r\n\x1a\n"
LINE = (
    "WARNING 2026-11-21 14:37:59,702 musicgen_pipeline hti9akop c03cacd1 -- generation {} lost its worker at frame {} "
)

ADDED = "INFO 2026-11-21 14:38:25,084 -- Got updated replicas for Deployment(name='{}', app='musicgen'): {}.\n"


def wav(seconds: float, value: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.full(round(1000 * seconds), value), 1000, format="WAV")
    return file.getvalue()


def take(number: int, sound: bytes, *times_s: float, streamed: bool = True, whole: bool = True) -> Take:
    """As many pieces as times, all of one size."""
    wish = Wish(number, "a waltz", number, 1000, streamed)
    frames = [50 * (i + 1) / len(times_s) for i in range(len(times_s))]
    return Take(wish, bytearray(sound), list(times_s), frames, f"{number:016x}", whole)


def comparison(first: bytes, *others: bytes, lost_at: tuple[tuple[int, ...], ...] = ((7,),)) -> Comparison:
    return Comparison(take(1, first, 0.1, 0.5), [take(1, other, 0.1, 0.9, 1.0) for other in others], lost_at)


@pytest.fixture
def service(tmp_path: Path) -> Running:
    (tmp_path / "serve").mkdir()
    return Running("http://test", tmp_path)


def test_half_of_the_clips_are_streamed_and_no_two_are_alike() -> None:
    asked = wishes(16, 30_000)
    assert sum(wish.streamed for wish in asked) == 8
    assert len({wish.seed for wish in asked}) == len({wish.file_name for wish in asked}) == 16
    assert {wish.body["cache"] for wish in asked} == {"off"}


def test_the_longest_wait_is_counted_from_the_request_and_between_pieces() -> None:
    assert take(1, b"", 0.5, 0.6, 0.9).longest_wait_s == pytest.approx(0.5)
    assert take(1, b"", 0.1, 0.6, 0.9).longest_wait_s == pytest.approx(0.5)
    assert take(1, b"").longest_wait_s == 0


def test_a_single_other_byte_a_clip_that_is_not_whole_and_one_that_failed_are_not_equal() -> None:
    assert comparison(b"abc", b"abc", b"abc").equal
    assert not comparison(b"abc", b"abc", b"abd").equal
    cut = Comparison(take(1, b"abc", 0.1), [take(1, b"abc", 0.1, whole=False)], [()])
    assert not cut.equal
    assert not Comparison(cut.killed[0], [cut.undisturbed], [()]).equal


def test_nothing_is_shown_where_no_clip_lost_its_worker() -> None:
    spared = comparison(b"abc", b"abc", lost_at=((),))
    assert not spared.hit
    assert verdict([spared]).startswith("nothing is shown")
    assert verdict([spared, comparison(b"abc", b"abc")]).startswith("no work is lost: 1 of 2 clips lost a worker")
    assert verdict([spared, comparison(b"abc", b"abd")]).startswith("only 1 of 2 clips")


def test_the_table_has_a_line_for_each_clip_and_one_for_each_failure() -> None:
    failed = comparison(b"abc", b"ab")
    failed.killed[0].error = "500: it was lost"
    lines = table([comparison(b"abc", b"abc", b"abc", lost_at=((12, 62), ())), failed]).splitlines()
    assert len(lines) == 4
    assert re.fullmatch(r"1 +streamed +3 +ba7816bf8f01 +yes +12, 62 \| - +0\.40 \| 0\.80 \| 0\.80", lines[1])
    assert " NO " in lines[2]
    assert lines[3] == "clip 1 failed: 500: it was lost"


def test_the_picture_is_drawn_with_and_without_a_kill(tmp_path: Path) -> None:
    waited = Comparison(take(2, b"", 1.0, streamed=False), [take(2, b"", 1.0, streamed=False)] * 2, ((), (3,)))
    draw([comparison(b"a", b"a", b"a", lost_at=((7,), ())), waited], [0.3, None], tmp_path / "new" / "demo.png")
    assert (tmp_path / "new" / "demo.png").read_bytes().startswith(PNG)


def test_what_differs_is_kept_beside_what_it_differs_from(tmp_path: Path) -> None:
    save([comparison(b"abc", b"abc"), Comparison(take(2, b"abc", 0.1), [take(2, b"abd", 0.1)], [()])], tmp_path)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert kept == {"01-a-waltz.wav": b"abc", "02-a-waltz.wav": b"abd", "02-a-waltz-undisturbed.wav": b"abc"}


def test_losses_are_read_from_every_pipeline_s_log_and_only_those_since_are_a_round_s(service: Running) -> None:
    log = service.logs / "serve" / "replica_musicgen_pipeline_hti9akop.log"
    log.write_text(LINE.format("a" * 16, 122) + "(ActorDiedError); another goes on\n")
    (log.parent / "replica_musicgen_ingress_hti9akop.log").write_text(LINE.format("b" * 16, 1))
    killing = Killing(service, lambda said: None)
    assert losses(service) == {"a" * 16: [122]}
    assert killing.lost() == {}
    with log.open("a") as file:
        file.write(LINE.format("a" * 16, 540) + "\n" + LINE.format("c" * 16, 0) + "\n")
    assert killing.lost() == {"a" * 16: [540], "c" * 16: [0]}


def test_replicas_are_counted_as_the_pipeline_hears_of_them(service: Running) -> None:
    log = service.logs / "serve" / "replica_musicgen_pipeline_hti9akop.log"
    log.write_text(
        ADDED.format("etude-language-model", "2 total (+2 added, -0 removed)")
        + ADDED.format("etude-codec-decoder", "1 total (+1 added, -0 removed)")
        + ADDED.format("etude-language-model", "1 total (+0 added, -1 removed)")
        + ADDED.format("etude-language-model", "2 total (+1 added, -0 removed)")
    )
    assert replicas_added(service) == 3


@pytest.fixture
def impostors() -> Iterator[list[int]]:
    """Process numbers of two that are called as the model's replicas are; a third one is another deployment's."""
    titles = ["etude-language-model", "etude-language-model", "etude-codec-decoder"]
    command = 'exec -a "ray::ServeReplica:musicgen:$0" sleep 60'
    processes = [subprocess.Popen(["bash", "-c", command, title]) for title in titles]
    until_s = time.monotonic() + 20
    while any(psutil.Process(each.pid).cmdline()[:1] == ["bash"] for each in processes):
        assert time.monotonic() < until_s
        time.sleep(0.01)
    yield [process.pid for process in processes[:2]]
    for process in processes:
        process.kill()
        process.wait()


def test_a_worker_is_found_by_its_title_among_our_own_and_the_oldest_is_killed(
    service: Running, impostors: list[int]
) -> None:
    before = {process.pid for process in language_models()}
    assert before == set(impostors)
    said: list[str] = []
    killing = Killing(service, said.append)

    async def until_killed() -> None:
        task = asyncio.create_task(killing.run(0.0, time.monotonic()))
        while killing.killed_s is None and not task.done():
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(until_killed())
    assert {process.pid for process in language_models()} == {impostors[1]}
    assert f"kill -9 of process {impostors[0]}, one of 2 replicas" in said[0]


async def music(request: Request) -> Response:
    """A clip of the length asked; one for a seed of 1 is too short, for 2 there is none."""
    asked = await request.json()
    if asked["seed"] == 2:
        return JSONResponse({"error": "worker lost"}, 500)
    sound = wav(asked["music_length_ms"] / (2000 if asked["seed"] == 1 else 1000), 0.5)
    return Response(sound, headers={"X-Generation-Id": f"{asked['seed']:032x}"})


async def asked(number: int) -> tuple[list[Take], float]:
    routes = [Route(path, music, methods=["POST"]) for path in ("/v1/music", "/v1/music/stream")]
    transport = httpx.ASGITransport(Starlette(routes=routes))
    async with httpx.AsyncClient(base_url="http://test", transport=transport) as client:
        with Progress(io.StringIO()) as progress:
            return await ask(client, wishes(number, 1000), "asking", progress)


def test_each_clip_s_end_is_told_apart() -> None:
    takes, took_s = asyncio.run(asked(3))
    assert [each.whole for each in takes] == [True, False, False]
    assert takes[0].frames[-1] == 50
    assert takes[0].generation == "0" * 16
    assert "500 samples; 1 s would be 1000" in (takes[1].error or "")
    assert takes[2].error == '500: {"error":"worker lost"}'
    assert max(takes[0].times_s) <= took_s


@pytest.mark.slow
def test_a_worker_is_killed_while_clips_are_made_and_all_are_equal(tmp_path: Path, project_root: Path) -> None:
    command = [sys.executable, "-m", "loadtests.demo_kill", "--clips", "8", "--seconds", "20", "--rounds", "1"]
    command += ["--picture", str(tmp_path / "demo.png"), "--folder", str(tmp_path / "clips")]
    done = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no work is lost" in done.stdout
    assert (tmp_path / "demo.png").read_bytes().startswith(PNG)
    durations = [soundfile.info(path).duration for path in sorted((tmp_path / "clips").iterdir())]
    assert durations == [20.0] * 8
