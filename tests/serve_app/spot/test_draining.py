"""How Ray's command is run. Ray's own answer to it is in `tests/service/test_spot.py`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import psutil
import pytest

from serve_app.spot import draining
from serve_app.spot.draining import Drainer, DrainError, check_ray
from serve_app.spot.node import Node

NODE = Node("ab" * 28, "127.0.0.1:6379", psutil.Process())


def children() -> set[psutil.Process]:
    """Of this process: those that earlier tests have left are none of these tests' business."""
    return set(psutil.Process().children())


def command(tmp_path: Path, body: str) -> list[str]:
    """A Python program in place of Ray's; `arguments` are those that it got."""
    program = tmp_path / "ray.py"
    program.write_text(f"import sys, time\narguments = sys.argv[1:]\n{body}\n")
    return [sys.executable, "-S", str(program)]


@pytest.mark.parametrize(
    ("remaining_s", "told"),
    [(113.9, ["113"]), (1.2, ["1"]), (0.0, ["1"]), (-40.0, ["1"]), (None, [])],
)
def test_ray_is_told_node_reason_and_whole_seconds_and_never_zero(
    tmp_path: Path, remaining_s: float | None, told: list[str]
) -> None:
    """0 would be no deadline to it."""
    said = tmp_path / "said"
    ray = command(tmp_path, f"open({str(said)!r}, 'w').write('\\n'.join(arguments))")
    asyncio.run(Drainer(ray).drain(NODE, "spot notice: stop", remaining_s))
    expected = ["drain-node", "--address", NODE.gcs_address, "--node-id", NODE.node_id]
    expected += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot notice: stop"]
    expected += ["--deadline-remaining-seconds", *told] if told else []
    assert said.read_text().split("\n") == expected


def test_a_command_that_fails_is_an_error_with_the_end_of_what_it_said(tmp_path: Path) -> None:
    ray = command(tmp_path, "print('x' * 9999); sys.exit('the drain request is not accepted')")
    with pytest.raises(DrainError, match=r"status 1: x+\nthe drain request is not accepted$") as caught:
        asyncio.run(Drainer(ray).drain(NODE, "m", 10))
    assert len(str(caught.value)) < 500


def test_a_command_that_hangs_is_ended(tmp_path: Path) -> None:
    before = children()
    ray = command(tmp_path, "time.sleep(600)")
    with pytest.raises(DrainError, match=r"more than 0\.3 s"):
        asyncio.run(Drainer(ray, timeout_s=0.3).drain(NODE, "m", 10))
    assert children() <= before


def test_a_drain_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    before = children()
    ray = command(tmp_path, f"open({str(tmp_path / 'up')!r}, 'w'); time.sleep(600)")

    async def scenario() -> None:
        task = asyncio.ensure_future(Drainer(ray).drain(NODE, "m", 10))
        while not (tmp_path / "up").exists():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert children() <= before

    asyncio.run(scenario())


def test_a_command_that_cannot_be_started_is_an_error() -> None:
    with pytest.raises(DrainError, match="can't be started: No such file"):
        asyncio.run(Drainer(["/no/such/program"]).drain(NODE, "m", 10))


def test_a_python_without_ray_is_an_error_that_says_which_would_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    check_ray()
    monkeypatch.setattr(draining.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DrainError, match="the Python that runs Ray"):
        check_ray()
