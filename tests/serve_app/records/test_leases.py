"""Whatever befalls the store, a request gets its lease, or who has it, or no telling; and never an error."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from serve_app.cache.faults import Faults
from serve_app.records.lease import Held, Lease, Taken
from serve_app.records.lease_table import LeaseTable
from serve_app.records.leases import Leases
from serve_app.records.threads import Threads
from tests.serve_app.records.tables import LEASE_S, Clock, database, locked

OURS = "ours"


class Door(LeaseTable):
    """Leases of a real database, which are granted behind a door."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.opened = threading.Event()
        self.opened.set()
        self.reached = threading.Semaphore(0)
        self.num_takes = 0

    def take(self, name: str, holder: str, value: str = "") -> Lease | Taken:
        self.num_takes += 1
        outcome = super().take(name, holder, value)
        self.reached.release()
        self.opened.wait()
        return outcome


Test = Callable[[Leases, Door, Clock], Coroutine[Any, Any, None]]


def run(folder: Path, test: Test, *, timeout_s: float = 60.0, store_timeout_s: float = 60.0) -> None:
    """timeout_s: of a call. store_timeout_s: the database's own."""

    async def within() -> None:
        clock = Clock()
        table = Door(database(folder, timeout_s=store_timeout_s), lease_s=LEASE_S, clock=clock)
        leases = Leases(
            table,
            Threads(2, "records"),
            Faults(lambda: clock.now_s),
            holder=OURS,
            timeout_s=timeout_s,
            clock=lambda: clock.now_s,
            jitter=lambda: 0.0,
        )
        table.peek("anything")  # the file is there
        try:
            await test(leases, table, clock)
        finally:
            table.opened.set()
            await leases.close()
        assert len(asyncio.all_tasks()) == 1

    before = threading.active_count()
    asyncio.run(within())
    assert threading.active_count() <= before


async def held(leases: Leases, name: str = "a") -> Held:
    outcome = await leases.take(name)
    assert isinstance(outcome, Held), outcome
    return outcome


def test_one_gets_it_and_the_others_learn_who_has_it(tmp_path: Path) -> None:
    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        outcomes = await asyncio.gather(*(leases.take("a", value="seed 7") for _ in range(20)))
        assert sorted(map(repr, outcomes)) == sorted(
            map(repr, [Held(Lease("a", OURS, 1), clock.now_s + LEASE_S), *[Taken(OURS, "seed 7", LEASE_S)] * 19])
        )
        assert await leases.peek("a") == Taken(OURS, "seed 7", LEASE_S)
        lease = Lease("a", OURS, 1)
        assert await leases.renew(lease) is True
        await leases.release(lease)
        assert await leases.peek("a") is None
        assert await leases.renew(lease) is False
        assert not leases.faults.counts

    run(tmp_path, test)


def test_a_lease_is_sure_from_before_it_was_asked_for(tmp_path: Path) -> None:
    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        asked_s = clock.now_s
        table.opened.clear()
        taking = asyncio.create_task(held(leases))
        await asyncio.to_thread(table.reached.acquire)
        clock.now_s += 3
        table.opened.set()
        assert (await taking).sure_until_s == asked_s + LEASE_S

    run(tmp_path, test)


def test_a_lease_that_nobody_waits_for_any_more_is_given_back(tmp_path: Path) -> None:
    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        table.opened.clear()
        taking = asyncio.create_task(leases.take("a"))
        await asyncio.to_thread(table.reached.acquire)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        assert table.peek("a") == Taken(OURS, "", LEASE_S)
        table.opened.set()
        while table.peek("a") is not None:
            await asyncio.sleep(0.001)
        assert (await held(leases)).lease.token == 2

    run(tmp_path, test)


def test_who_waits_too_long_is_served_without_a_lease_and_leaves_none_behind(tmp_path: Path) -> None:
    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        before = leases.faults.counts["lease take timeout"]
        table.opened.clear()
        assert await leases.take("a") is None
        assert leases.faults.counts["lease take timeout"] == before + 1
        table.opened.set()
        # Granted late and given back, or never asked for: that depends on how busy the machine is.
        while table.peek("a") is not None:
            await asyncio.sleep(0.001)

    run(tmp_path, test, timeout_s=0.05)


def test_one_that_can_not_be_given_back_is_counted_and_ends_with_its_time(tmp_path: Path) -> None:
    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        table.opened.clear()
        taking = asyncio.create_task(leases.take("a"))
        await asyncio.to_thread(table.reached.acquire)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        with locked(tmp_path):
            table.opened.set()
            while not leases.faults.counts:
                await asyncio.sleep(0.001)
        assert leases.faults.counts == {"lease release timeout": 1}
        assert await leases.peek("a")
        clock.now_s += LEASE_S
        assert (await held(leases)).lease.token == 2

    run(tmp_path, test, store_timeout_s=0.02)


def test_who_is_cancelled_while_giving_back_has_given_it_back(tmp_path: Path) -> None:
    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        lease = (await held(leases)).lease
        releasing = asyncio.create_task(leases.release(lease))
        await asyncio.sleep(0)
        releasing.cancel()
        await asyncio.gather(releasing, return_exceptions=True)
        await leases.settled()
        assert table.peek("a") is None

    run(tmp_path, test)


def test_of_a_store_that_is_locked_there_is_no_telling_and_it_says_so_once_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        lease = (await held(leases)).lease
        with locked(tmp_path), caplog.at_level(logging.WARNING):
            assert await leases.take("b") is None
            assert await leases.renew(lease) is None
            await leases.release(lease)
            assert await leases.peek("a") == Taken(OURS, "", LEASE_S), "reading fails apart"
            assert leases.faults.counts == {f"lease {what} timeout": 1 for what in ("take", "renew", "release")}
            for _ in range(20):
                assert await leases.renew(lease) is None
        assert len(caplog.records) == 3
        assert "database is locked" in caplog.text
        assert await leases.renew(lease) is True

    run(tmp_path, test, store_timeout_s=0.01)


def test_a_store_that_is_down_is_asked_three_times_and_then_once_in_a_while_and_used_when_it_is_back(
    tmp_path: Path,
) -> None:
    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        with locked(tmp_path):
            for _ in range(100):
                assert await leases.take("a") is None
            assert table.num_takes == 3
            assert not leases.is_up
            clock.now_s += 1
            for _ in range(100):
                assert await leases.take("a") is None
            await leases.settled()
            assert table.num_takes == 4
        clock.now_s += 2
        assert await leases.take("a") is None, "whoever is there when a trial is due is served without it"
        await leases.settled()
        assert leases.is_up
        assert (await held(leases)).lease.token == 1, "the trial took what it was tried with"
        assert table.peek(f"trial/{OURS}") is None
        assert leases.faults.counts == {"lease take timeout": 4, "lease take left out": 198}

    run(tmp_path, test, store_timeout_s=0.01)


def test_a_renewal_is_tried_though_the_store_is_down_and_finds_out_that_it_is_back(tmp_path: Path) -> None:
    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        lease = (await held(leases)).lease
        with locked(tmp_path):
            for _ in range(3):
                assert await leases.take("b") is None
            assert not leases.is_up
            assert await leases.renew(lease) is None
        assert await leases.renew(lease) is True
        assert leases.is_up

    run(tmp_path, test, store_timeout_s=0.01)


def test_reading_is_tried_again_by_reading(tmp_path: Path) -> None:
    folder, away = tmp_path / "records", tmp_path / "away"

    def take_away() -> None:
        folder.rename(away)
        folder.touch()

    def bring_back() -> None:
        folder.unlink()
        away.rename(folder)

    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        await held(leases)
        take_away()
        for _ in range(4):
            assert await leases.peek("a") is None
        assert not leases.is_up
        bring_back()
        clock.now_s += 1
        assert await leases.peek("a") is None
        await leases.settled()
        assert leases.is_up
        assert await leases.peek("a")
        assert leases.faults.counts == {"lease peek unreachable": 3, "lease peek left out": 2}

    run(folder, test)


def test_a_crowd_before_the_threads_does_not_open_the_breaker(tmp_path: Path) -> None:
    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        table.opened.clear()
        taking = [asyncio.create_task(leases.take(f"{number}")) for number in range(2 * 33)]
        await asyncio.sleep(0)
        for _ in range(5):
            assert await leases.take("a") is None
        assert leases.is_up
        assert leases.faults.counts == {"lease take busy": 5}
        table.opened.set()
        assert all(isinstance(each, Held) for each in await asyncio.gather(*taking))

    run(tmp_path, test)


def test_what_is_no_fault_of_a_store_travels(tmp_path: Path) -> None:
    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        with pytest.raises(ValueError, match="200 printable characters"):
            await leases.take("a" * 201)

    run(tmp_path, test)


def test_closing_waits_for_what_is_being_given_back(tmp_path: Path) -> None:
    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        lease = (await held(leases)).lease
        releasing = asyncio.create_task(leases.release(lease))
        await asyncio.sleep(0)
        await leases.close()
        await releasing
        assert table.peek("a") is None
        table.close()

    run(tmp_path, test)
