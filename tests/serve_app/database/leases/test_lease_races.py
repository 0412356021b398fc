"""Real processes: two never hold one lease at once, and what a dead or stopped one held goes to another."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from serve_app.database.lease_table import MAX_LEASE_S, Lease, LeaseTable, TakenLease
from serve_app.stores.store import StoreTimeout
from tests.serve_app.database.tables import database

NUM_RACERS, NUM_THREADS, NUM_ROUNDS = 3, 7, 15

# A folder can be made once only: whoever holds a lease beside another fails at it.
RACER = f"""
import os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from serve_app.stores.store import StoreTimeout
from serve_app.database.lease_table import Lease
from serve_app.database.lease_table import LeaseTable
from serve_app.database.engines import SqliteDatabase

folder = Path(sys.argv[1])
database = SqliteDatabase(folder / "records.sqlite", timeout_s=60, max_connections={NUM_THREADS})
table = LeaseTable(database, lease_s=300)

def race(thread):
    tokens = []
    for number in range({NUM_ROUNDS}):
        lease = table.take(f"codes-{{number % 2}}", f"{{os.getpid()}}/{{thread}}")
        if isinstance(lease, Lease):
            (folder / lease.name).mkdir()
            tokens.append((lease.name, lease.token))
            (folder / lease.name).rmdir()
            assert table.renew(lease)
            table.release(lease)
    return tokens

print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor({NUM_THREADS}) as threads:
    for tokens in threads.map(race, range({NUM_THREADS})):
        for name, token in tokens:
            print(name, token)
database.close()
"""

HOLDER = """
import asyncio, sys
from pathlib import Path
from serve_app.faults import Faults
from serve_app.database.lease_table import LeaseTable
from serve_app.database.leases import Leases
from deployments.liveness.timings import uptime_s
from serve_app.database.engines import SqliteDatabase
from serve_app.stores.threads import ThreadPool

async def main():
    database = SqliteDatabase(Path(sys.argv[1]) / "records.sqlite", timeout_s=60, max_connections=1)
    table, threads = LeaseTable(database, lease_s=0.5), ThreadPool(1, "records")
    leases = Leases(table, threads, Faults(uptime_s), holder="child", timeout_s=60)
    held = await leases.take("codes", value="7")
    async with leases.renewing(held) as kept:
        print(held.lease.token, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print("held" if kept.is_surely_held() else "not held", flush=True)
        await kept.wait_until_lost()
    print("lost", flush=True)
    await leases.close()

asyncio.run(main())
"""


@contextlib.contextmanager
def running(script: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", script, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin
    assert process.stdout
    return process.stdin, process.stdout


def go_on(process: subprocess.Popen[str]) -> None:
    stdin, _ = pipes(process)
    stdin.write("go\n")
    stdin.flush()


def taken_in_the_end(table: LeaseTable) -> Lease:
    while isinstance(outcome := table.take("codes", "test"), TakenLease):
        time.sleep(0.01)
    return outcome


def stop(process: subprocess.Popen[str], table: LeaseTable) -> None:
    """Stops it, but not while it writes: then nobody else could."""
    while True:
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        try:
            table.take("anything", "test")
            return
        except StoreTimeout:
            process.send_signal(signal.SIGCONT)


def test_of_21_takers_in_three_processes_one_holds_it_at_a_time_and_none_is_told_that_the_database_is_locked(
    tmp_path: Path,
) -> None:
    tokens: dict[str, list[int]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        racers = [stack.enter_context(running(RACER, tmp_path)) for _ in range(NUM_RACERS)]
        for racer in racers:
            assert pipes(racer)[1].readline() == "ready\n"
        for racer in racers:
            go_on(racer)
        for racer in racers:
            for line in pipes(racer)[1]:
                name, token = line.split()
                tokens[name].append(int(token))
        assert [racer.wait() for racer in racers] == [0] * NUM_RACERS
    for each in tokens.values():
        assert sorted(each) == list(range(1, len(each) + 1)), "a token was given twice"
    assert tokens.keys() == {"codes-0", "codes-1"}
    table = LeaseTable(database(tmp_path), lease_s=1)
    table.check_integrity()
    table.close()


def test_a_process_stopped_past_its_lease_knows_when_it_wakes_that_it_may_be_anothers(tmp_path: Path) -> None:
    table = LeaseTable(database(tmp_path, timeout_s=0.5), lease_s=MAX_LEASE_S)
    with running(HOLDER, tmp_path) as holder:
        _, stdout = pipes(holder)
        assert stdout.readline() == "1\n"
        stop(holder, table)
        ours = taken_in_the_end(table)
        assert ours.token == 2
        go_on(holder)
        holder.send_signal(signal.SIGCONT)
        assert stdout.readline() == "not held\n"
        assert stdout.readline() == "lost\n"
        assert holder.wait() == 0
    # It has not given back what was another's.
    assert table.renew(ours)
    table.close()


def test_what_a_killed_process_held_is_anothers_as_soon_as_its_time_is_over(tmp_path: Path) -> None:
    table = LeaseTable(database(tmp_path), lease_s=MAX_LEASE_S)
    with running(HOLDER, tmp_path) as holder:
        assert pipes(holder)[1].readline() == "1\n"
        holder.kill()
        holder.wait()
        found = table.peek("codes")
        assert found is None or (found.holder, found.value) == ("child", "7")
        assert taken_in_the_end(table).token == 2
    table.close()
