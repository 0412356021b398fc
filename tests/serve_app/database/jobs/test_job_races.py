"""Many at once, in threads and in processes: each job is taken in once, and each of its frames is made once."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from serve_app.database.job_table import JobTable
from serve_app.job import TooManyQueued
from tests.serve_app.database import databases
from tests.serve_app.database.databases import Home
from tests.serve_app.database.jobs.submissions import all_codes, submission
from tests.serve_app.database.jobs.submitter import NUM_JOBS, NUM_THREADS
from tests.serve_app.database.jobs.worker import NUM_FRAMES, work

NUM_AT_ONCE = 20
ROOT = Path(__file__).parents[4]

_Result = TypeVar("_Result")


def at_once(home: Home, call: Callable[[JobTable], _Result]) -> list[_Result]:
    """What each of many threads gets that call at the same moment."""
    tables = [JobTable(home.open(max_connections=1)) for _ in range(NUM_AT_ONCE)]
    tables[0].page("ours", 1, None)  # the tables are there
    together = threading.Barrier(NUM_AT_ONCE)

    def ask(table: JobTable) -> _Result:
        together.wait()
        return call(table)

    with ThreadPoolExecutor(NUM_AT_ONCE) as threads:
        return list(threads.map(ask, tables))


@contextlib.contextmanager
def running(commands: Sequence[Sequence[str]]) -> Iterator[list[subprocess.Popen[str]]]:
    """Modules of these tests as processes, all ready to begin at a word."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with contextlib.ExitStack() as stack:
        processes = []
        for module, *arguments in commands:
            process = subprocess.Popen(
                [sys.executable, "-m", f"tests.serve_app.database.jobs.{module}", *arguments],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield processes


def go(processes: Sequence[subprocess.Popen[str]]) -> list[list[str]]:
    """What each prints from the word on, in lines; none of them fails."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    with ThreadPoolExecutor(len(processes)) as threads:
        outputs = list(threads.map(lambda process: process.communicate()[0].splitlines(), processes))
    assert [process.returncode for process in processes] == [0] * len(processes)
    return outputs


def test_of_20_who_submit_with_one_key_all_get_one_job(home: Home) -> None:
    outcomes = at_once(home, lambda table: table.submit(submission(key="k"), 1000))
    assert len({job.id for job, _ in outcomes}) == 1
    assert [is_new for _, is_new in outcomes].count(True) == 1


def test_of_20_who_submit_at_once_no_more_get_in_than_may_wait(home: Home) -> None:
    def submit(table: JobTable) -> bool:
        try:
            return table.submit(submission(seeds=(1, 2)), 14)[1]
        except TooManyQueued:
            return False

    assert at_once(home, submit).count(True) == 7


def test_of_20_who_cancel_at_once_one_changes_the_job(home: Home) -> None:
    table = JobTable(home.open())
    job, _ = table.submit(submission(seeds=(1, 2)), 1000)
    assert {found and found.version for found in at_once(home, lambda each: each.cancel("ours", job.id))} == {1}


def test_each_frame_is_saved_once_by_workers_who_take_each_others_leases(home: Home) -> None:
    table = JobTable(home.open())
    jobs = [table.submit(submission(seeds=(1, 2), num_frames=NUM_FRAMES), 1000)[0] for _ in range(3)]
    with running([("worker", home.url, "2", str(seed)) for seed in (0, 100)]) as workers:
        lines = [json.loads(line) for output in go(workers) for line in output]
    parts: dict[str, list[tuple[int, int]]] = {}
    ends: Counter[str] = Counter()
    for written, succeeded, _ in lines:
        for variation, each in written.items():
            parts.setdefault(variation, []).extend((first, end) for first, end in each)
        ends.update(succeeded)
    assert sum(num_fenced for *_, num_fenced in lines), "nobody ever took anything from anybody"
    table.check_integrity()
    for job in jobs:
        found = table.find("ours", job.id)
        assert found is not None
        assert found.state == "succeeded"
        for number in range(2):
            mine = sorted(parts[f"{job.id}/{number}"])
            assert [end for _, end in mine[:-1]] == [first for first, _ in mine[1:]], "made twice, or not at all"
            assert (mine[0][0], mine[-1][1]) == (0, NUM_FRAMES)
            assert ends[f"{job.id}/{number}"] == 1
            made = table.made("ours", job.id, number)
            assert made is not None
            np.testing.assert_array_equal(made.codes, all_codes(NUM_FRAMES))


def test_20_submitters_and_followers_on_sqlite_lose_nothing_and_are_never_told_that_it_is_locked(
    tmp_path: Path,
) -> None:
    home = databases.sqlite(tmp_path)
    table = JobTable(home.open())
    table.page("ours", 1, None)
    with running([("submitter", home.url, name) for name in ("one", "two")]) as submitters:
        done = threading.Event()

        def keep_working(seed: int) -> None:
            database = home.open(max_connections=1, timeout_s=2.0)
            while not done.is_set():
                work(database, seed)
                time.sleep(0.01)

        with ThreadPoolExecutor(2) as threads:
            working = [threads.submit(keep_working, seed) for seed in range(2)]
            try:
                outputs = go(submitters)
            finally:
                done.set()
            for each in working:
                each.result()
    table.check_integrity()
    for name, lines in zip(("one", "two"), outputs, strict=True):
        assert len(lines) == NUM_THREADS
        for number, line in enumerate(lines):
            kept = [job.id for job in table.page(f"{name} {number}", 99, None)]
            assert list(reversed(kept)) == line.split()
            assert len(kept) == NUM_JOBS
    home.close()
