"""The client counts what it gets, the bare server gives what is requested, and the benchmark ends with its line."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from loadtests.bench_hits import Target, generation_calls, run_client
from loadtests.hits.bare_server import bare_server
from loadtests.hits.client import load
from loadtests.measuring.running import Running


@pytest.fixture(scope="module")
def bare_url() -> Iterator[str]:
    with bare_server() as url:
        yield url


def test_every_request_is_counted_once_however_many_connections(bare_url: str) -> None:
    for size in (1, 3_000_000):
        answered = load({"url": f"{bare_url}/{size}", "body": "{}", "connections": 3, "requests": 20})
        assert answered["sizes"] == [size]
        assert answered["outcomes"] == {"none": 20}
        assert len(answered["ms"]) == 20
        assert max(answered["ms"]) <= 1000 * answered["total_s"]


def test_an_answer_that_is_none_fails_the_load() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with pytest.raises(RuntimeError, match=r"501 Unsupported method \('POST'\)"):
                load({"url": f"http://127.0.0.1:{server.server_port}/1", "body": "", "connections": 1, "requests": 2})
        finally:
            server.shutdown()
            thread.join()


def test_the_client_in_a_process_of_its_own_says_the_same(bare_url: str) -> None:
    answered = run_client({"url": f"{bare_url}/10", "body": "{}", "connections": 2, "requests": 4})
    assert (answered["sizes"], answered["outcomes"], len(answered["ms"])) == ([10], {"none": 4}, 4)


def test_a_round_to_warm_up_does_not_count(bare_url: str) -> None:
    target = Target(f"{bare_url}/10", "{}")
    target.round(2, 6, counts=False)
    assert not target.ms
    for _ in range(2):
        target.round(2, 6)
    figures = target.figures()
    assert len(target.ms) == 12
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]


def test_calls_that_make_music_are_counted_over_all_replicas(tmp_path: Path) -> None:
    folder = tmp_path / "serve"
    folder.mkdir()
    (folder / "replica_musicgen_pipeline_a.log").write_text("x -- CALL codes OK 1ms\nx -- CALL identity OK 1ms\n")
    (folder / "replica_musicgen_pipeline_b.log").write_text("x -- CALL codes OK 1ms\n")
    (folder / "replica_musicgen_etude-language-model_c.log").write_text("x -- CALL generate OK 1ms\n")
    assert generation_calls(Running("", tmp_path)) == {"pipeline": 2, "etude-language-model": 1}


@pytest.mark.nightly
def test_all_are_hits_and_nothing_is_made(project_root: Path) -> None:
    command = [sys.executable, "-m", "loadtests.bench_hits", "--seconds", "1", "--requests", "40"]
    command += ["--connections", "4", "--rounds", "2"]
    done = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert list(figures) == ["connections", "rounds", "ingress_replicas", "results"]
    assert [result["seed"] for result in figures["results"]] == [True, False]
    for result in figures["results"]:
        assert result["outcomes"] == {"hit": 40}
        assert result["made"] == {"pipeline": 0, "etude-language-model": 0}
        assert result["body_bytes"] > 64_000
        assert result["ratio"] > 0
        assert min(result["cpu_ms"].values()) > 0
        assert 0 < result["hits"]["p50_ms"] <= result["hits"]["p99_ms"]
