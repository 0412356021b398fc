"""Submits jobs and follows them to their ends, with many threads: `python -m tests.serve_app.database.jobs.submitter URL`."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from serve_app.database.engines import open_database
from serve_app.database.job_table import JobTable
from serve_app.job import ENDED
from serve_app.settings.storage import DatabaseSettings
from tests.serve_app.database.jobs.submissions import submission
from tests.serve_app.database.jobs.worker import NUM_FRAMES

NUM_THREADS, NUM_JOBS = 10, 2


def submit_and_follow(table: JobTable, tenant: str) -> list[str]:
    """The ids, in their order. Raises: AssertionError where a job goes back in time; StoreError."""
    seen = {}
    for number in range(NUM_JOBS):
        job, is_new = table.submit(submission(tenant, num_frames=NUM_FRAMES, key=f"k{number}"), NUM_JOBS)
        assert is_new
        seen[job.id] = job
    ids = list(seen)
    while any(job.state not in ENDED for job in seen.values()):
        found = table.find_many([(tenant, job_id) for job_id in ids])
        for job in found.values():
            before = seen[job.id]
            assert (job.version, job.progress) >= (before.version, before.progress)
            assert job.version > before.version or job.variations == before.variations
        seen |= found
        time.sleep(0.05)
    assert {job.state for job in seen.values()} == {"succeeded"}
    return ids


def main(url: str, name: str) -> None:
    # As a service has it: ten threads on four connections, and two seconds for each call.
    database = open_database(DatabaseSettings.model_validate({"url": url}))
    table = JobTable(database)
    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        for ids in threads.map(lambda n: submit_and_follow(table, f"{name} {n}"), range(NUM_THREADS)):
            print(*ids)
    database.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
