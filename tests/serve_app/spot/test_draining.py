"""The calls that drain a node. Ray's own answer to them is in `tests/service/test_spot.py`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from deployments.paths import ROOT
from serve_app.spot import draining
from serve_app.spot.draining import STANDBY, Drainer, DrainError, Node, check_ray

NODE = Node("ab" * 28, "127.0.0.1:6379", psutil.Process())
ACCEPTS = """
print("{}", flush=True)
for line in sys.stdin:
    open(told, "a").write(line)
    print('{"refused": null}', flush=True)
"""


def children() -> set[psutil.Process]:
    """Of this process: those that earlier tests have left are none of these tests' business."""
    return set(psutil.Process().children())


def standby(tmp_path: Path, body: str) -> list[str]:
    """A Python program in the place of the one that asks Ray; `told` is a file for what it is told."""
    program = tmp_path / "standby.py"
    program.write_text(f"import sys, time\ntold = {str(tmp_path / 'told')!r}\n{body}\n")
    return [sys.executable, "-S", str(program)]


def run(drainer: Drainer, scenario: Callable[[Drainer], Awaitable[None]]) -> None:
    """Nothing is left of it afterwards."""

    async def closing() -> None:
        async with aclosing(drainer):
            await scenario(drainer)

    before = children()
    asyncio.run(closing())
    assert children() <= before


@pytest.mark.parametrize(("remaining_s", "told_s"), [(113.9, 113.9), (1.2, 1.2), (0.0, 1.0), (-40.0, 1.0)])
def test_ray_is_told_node_reason_and_the_moment_of_the_end_which_is_never_past(
    tmp_path: Path, remaining_s: float, told_s: float
) -> None:
    async def scenario(drainer: Drainer) -> None:
        await drainer.drain(NODE, "spot notice: stop", remaining_s)

    from_s = time.time()
    run(Drainer(standby(tmp_path, ACCEPTS)), scenario)
    told = json.loads((tmp_path / "told").read_text())
    assert from_s + told_s - 0.001 <= told.pop("deadline_ms") / 1000 <= time.time() + told_s
    assert told == {"gcs_address": NODE.gcs_address, "node_id": NODE.node_id, "message": "spot notice: stop"}


def test_an_unknown_end_is_no_deadline(tmp_path: Path) -> None:
    async def scenario(drainer: Drainer) -> None:
        await drainer.drain(NODE, "m", None)

    run(Drainer(standby(tmp_path, ACCEPTS)), scenario)
    assert json.loads((tmp_path / "told").read_text())["deadline_ms"] == 0


def test_the_standby_process_starts_before_it_is_needed_and_serves_every_call(tmp_path: Path) -> None:
    async def scenario(drainer: Drainer) -> None:
        await drainer.start()
        [process] = children() - before
        for message in ("first", "second"):
            await drainer.drain(NODE, message, 10)
            await drainer.start()
        assert children() - before == {process}

    before = children()
    run(Drainer(standby(tmp_path, ACCEPTS)), scenario)
    assert [json.loads(line)["message"] for line in (tmp_path / "told").read_text().splitlines()] == ["first", "second"]


def test_a_refusal_is_an_error_with_its_end(tmp_path: Path) -> None:
    body = 'print("{}", flush=True)\nsys.stdin.readline()\nprint(\'{"refused": "\' + "x" * 9999 + \' is away"}\')'

    async def scenario(drainer: Drainer) -> None:
        with pytest.raises(DrainError, match=r"^Ray refuses the drain: x+ is away$") as caught:
            await drainer.drain(NODE, "m", 10)
        assert len(str(caught.value)) < 500

    run(Drainer(standby(tmp_path, body)), scenario)


def test_a_process_that_ends_is_an_error_with_the_end_of_its_output_and_another_is_started(tmp_path: Path) -> None:
    """It does so the first time only."""
    ends = "import os\nif not os.path.exists(told):\n    open(told, 'w')\n    sys.exit('x' * 9999 + ' no Ray')\n"

    async def scenario(drainer: Drainer) -> None:
        with pytest.raises(DrainError, match=r"ended with status 1: x+ no Ray$") as caught:
            await drainer.drain(NODE, "m", 10)
        assert len(str(caught.value)) < 500
        await drainer.drain(NODE, "again", 10)

    run(Drainer(standby(tmp_path, ends + ACCEPTS)), scenario)
    assert json.loads((tmp_path / "told").read_text())["message"] == "again"


def test_a_process_that_hangs_is_ended(tmp_path: Path) -> None:
    async def scenario(drainer: Drainer) -> None:
        with pytest.raises(DrainError, match=r"has not answered in 0\.3 s"):
            await drainer.drain(NODE, "m", 10)
        assert children() <= before

    before = children()
    run(Drainer(standby(tmp_path, "time.sleep(600)"), timeout_s=0.3), scenario)


def test_a_drain_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    async def scenario(drainer: Drainer) -> None:
        task = asyncio.ensure_future(drainer.drain(NODE, "m", 10))
        while not (tmp_path / "told").exists():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert children() <= before

    before = children()
    run(Drainer(standby(tmp_path, "open(told, 'w'); time.sleep(600)")), scenario)


def test_a_process_that_cannot_be_started_is_an_error() -> None:
    async def scenario(drainer: Drainer) -> None:
        with pytest.raises(DrainError, match="can't be started: No such file"):
            await drainer.drain(NODE, "m", 10)

    run(Drainer(["/no/such/program"]), scenario)


def test_the_real_process_becomes_ready_and_ends_with_the_one_that_started_it() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(STANDBY, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "{}\n"
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def test_a_python_without_ray_is_an_error_that_says_which_would_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    check_ray()
    monkeypatch.setattr(draining.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DrainError, match="the Python that runs Ray"):
        check_ray()
