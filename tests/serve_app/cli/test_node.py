"""The two commands as processes of their own, as a node starts them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from deployments.paths import ROOT
from loadtests.fleet.metadata_server import ACTION, MetadataServer
from serve_app.cli.main import main
from tests.serve_app.spot.conftest import StartRaylet

NODE = "ab" * 28


def started(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "serve_app.cli.main", "node", *words, "--node-id", NODE]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def event(process: subprocess.Popen[str]) -> str:
    """The next."""
    assert process.stderr is not None
    return str(json.loads(process.stderr.readline())["event"])


def rest(process: subprocess.Popen[str]) -> list[str]:
    """The events until its end."""
    _, log = process.communicate(timeout=60)
    return [json.loads(line)["event"] for line in log.splitlines()]


def test_a_watch_begins_when_the_node_is_there_and_ends_with_it(
    server: MetadataServer, start_raylet: StartRaylet
) -> None:
    process = started("watch", "--metadata-url", server.url, "--poll-s", "0.1")
    assert event(process) == "waiting"
    raylet = start_raylet(NODE)
    assert event(process) == "watching"
    raylet.kill()
    assert rest(process) == ["node_gone"]
    assert process.returncode == 0


def test_a_watch_that_is_told_to_end_does_and_leaves_nothing(server: MetadataServer, start_raylet: StartRaylet) -> None:
    start_raylet(NODE)
    server.fail(ACTION, 503)
    process = started("watch", "--metadata-url", server.url)
    assert [event(process), event(process)] == ["watching", "metadata_failed"]
    process.send_signal(signal.SIGTERM)
    assert rest(process) == ["ended"]
    assert process.returncode == 0


def test_no_node_within_the_time_given_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node", "watch", "--node-id", NODE, "--start-s", "0"]) == 1
    assert main(["node", "drain", "--node-id", NODE]) == 1
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in events] == ["failed", "failed"]
    assert all("no Ray node of that id" in line["message"] for line in events)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["watch", "--node-id", "7"], "--node-id: must be the 56 hexadecimal digits"),
        (["watch", "--metadata-url", "http://example.com"], "--metadata-url: must name its host by IP address"),
        (["watch", "--poll-s", "0"], "--poll-s: Input should be greater than or equal to 0.1"),
        (["watch", "--poll-s", "nan"], "--poll-s: Input should be"),
        (["watch", "--margin-s", "-1"], "--margin-s: Input should be"),
        (["drain", "--deadline-s", "0"], "--deadline-s: Input should be"),
        (["drain", "--deadline-s", "inf"], "--deadline-s: Input should be"),
    ],
)
def test_a_wrong_option_is_named_with_what_would_be_right(
    capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    assert main(["node", *words]) == 2
    assert capsys.readouterr().err.startswith(complaint)


@pytest.mark.parametrize("words", [[], ["watch", "--cloud", "azure"], ["watch", "--rebalance", "perhaps"]])
def test_an_unknown_word_is_refused(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(["node", *words]) == 2
    capsys.readouterr()
