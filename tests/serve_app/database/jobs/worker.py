"""Makes jobs as fast as it can, under leases that are over as soon as they are given: whoever comes takes them away.

`python -m tests.serve_app.database.jobs.worker URL NUM_THREADS` prints what it has written, a line of JSON for each thread.
"""

from __future__ import annotations

import json
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from sqlalchemy import Connection

from serve_app.database.database import Database
from serve_app.database.job_table import JobTable
from serve_app.database.lease_table import ClockReading, Lease, LeaseTable
from serve_app.job import StaleToken, VariationId
from tests.serve_app.database.databases import Home
from tests.serve_app.database.jobs.submissions import saving, start

NUM_FRAMES = 12


@dataclass
class Written:
    """By variation: the first frames of all parts that were taken, the number of successes and of fencings."""

    parts: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    num_fenced: int = 0


def hasty(connection: Connection) -> ClockReading:
    """A clock by which a lease of a second is over at once."""
    del connection
    return ClockReading(time.monotonic() * 1e6, "")


def work(database: Database, seed: int) -> Written:
    """Until there is nothing left to do."""
    table, leases = JobTable(database, clock=hasty), LeaseTable(database, lease_s=1.0, clock=hasty)
    written, dice = Written(), random.Random(seed)
    while found := table.candidates(4, ["realtime", "batch"]):
        variation = dice.choice(found)
        lease = leases.take(variation.lease_name, f"worker {seed}")
        if isinstance(lease, Lease):
            try:
                _make(table, variation, lease.token, written, dice)
            except StaleToken:
                written.num_fenced += 1
    return written


def _make(table: JobTable, variation: VariationId, token: int, written: Written, dice: random.Random) -> None:
    begun = table.begin(variation, token)
    if begun is None:
        return
    at = 0 if begun.resumption is None else begun.resumption.codes.shape[1]
    started = start() if begun.resumption is None else None
    while at < begun.num_frames:
        end = min(begun.num_frames, at + dice.randint(3, 5))
        if table.save([saving(variation, token, at, end, started)]):
            raise StaleToken
        written.parts.setdefault(str(variation), []).append((at, end))
        at, started = end, None
    table.succeed(variation, token)
    written.ends[str(variation)] = written.ends.get(str(variation), 0) + 1


def main(url: str, num_threads: int, seed: int) -> None:
    home = Home(url)
    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(num_threads) as threads:
        for written in threads.map(lambda n: work(home.open(max_connections=1), seed + n), range(num_threads)):
            print(json.dumps([written.parts, written.ends, written.num_fenced]))
    home.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
