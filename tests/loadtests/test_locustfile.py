"""The load test as Locust runs it, in a process of its own, against the HTTP surface on a socket."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from deployments.messages import Clip, MusicRequest
from loadtests.load.locust_process import run_locust
from loadtests.load.sample import Sample, SampleReader
from serve_app.errors import TooBusy
from tests.serve_app.api.jobs_reference import DecodingBackend, job_service
from tests.serve_app.api.service import SAMPLE_RATE, SineBackend, sine
from tests.serve_app.cli.service import Stepping, on_a_socket

ROOT = Path(__file__).parent.parent.parent


def locust(url: str, folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], list[Sample]]:
    """Locust as it ended, and what it wrote."""
    path = folder / "samples.jsonl"
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "--only-summary"]
    command += ["--host", url, "--samples", str(path), "--csv", str(folder / "load"), "--stop-timeout", "20"]
    environment = {name: value for name, value in os.environ.items() if name != "MUSICGEN_API_KEY"}
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done, SampleReader(path).new()


def names(samples: Sequence[Sample], end: str) -> Counter[str]:
    return Counter(sample.name for sample in samples if sample.end == end)


def test_all_kinds_of_users_are_served_and_those_refused_come_again(tmp_path: Path) -> None:
    places = itertools.count()

    async def full_at_first(request: MusicRequest) -> Clip:
        if next(places) < 2:
            raise TooBusy("Every place is taken.", retry_after_s=1)
        return sine(request)

    backend = DecodingBackend()
    backend.compose_with = full_at_first
    shape = ("--shape", "spike", "--levels", "10,20", "--hold", "1", "--pace", "0.4", "--lengths", "0.5,1")
    with on_a_socket(job_service(Stepping(), backend)) as url:
        done, samples = locust(url, tmp_path, *shape)
    assert done.returncode == 0, done.stdout + done.stderr
    right = names(samples, "right")
    requests = {"compose", "repeat", "stream", "job: submit", "job: made", "job: fetch", "job: remove", "hang up"}
    assert set(right) == requests | {"first audio", "longest gap"}
    assert right["first audio"] == right["longest gap"] == right["stream"]
    assert names(samples, "wrong") == {}
    assert names(samples, "refused").total() == 2
    told = (tmp_path / "load_stats.csv").read_text(encoding="utf-8")
    assert "\nAUDIO,first audio," in told
    assert "\n429," in told
    assert backend.open_takes == 0


def test_a_service_whose_answers_are_wrong_fails_the_run(tmp_path: Path) -> None:
    num = 2 * SAMPLE_RATE

    async def too_short(request: MusicRequest) -> Clip:
        clip = sine(request)
        return Clip(clip.pcm[:, :-1], clip.sample_rate, clip.codes)

    load = ("--shape", "soak", "--levels", "3", "--hold", "1", "--pace", "0.3")
    clips = ("--weights", "compose=1", "--lengths", "2")
    with on_a_socket(job_service(Stepping(), SineBackend(too_short))) as url:
        done, samples = locust(url, tmp_path, *load, *clips)
    assert done.returncode == 1
    assert names(samples, "right") == {}
    assert {sample.failure for sample in samples if sample.end == "wrong"} == {
        f"{num - 1} samples in the place of {num}"
    }


def test_nothing_begins_on_another_machine(tmp_path: Path) -> None:
    done, samples = locust("http://192.0.2.1", tmp_path)
    assert (done.returncode, samples) == (2, [])
    assert "--allow-host" in done.stderr


def test_a_run_may_end_early_and_then_ends_what_it_has_begun(tmp_path: Path) -> None:
    seen: list[Sample] = []

    def watch(samples: Sequence[Sample]) -> None:
        seen[:] = samples

    load = ("--shape", "soak", "--levels", "3", "--hold", "3000", "--pace", "0.3", "--lengths", "0.5")
    with on_a_socket(job_service(Stepping(), DecodingBackend())) as url:
        samples = run_locust(url, load, 100, tmp_path, {}, watch, lambda: bool(seen))
    assert len(samples) >= len(seen) > 0
    assert names(samples, "wrong") == {}
    assert (tmp_path / "report.html").exists()
