"""Whatever befalls the store, a request gets its lease, or who has it, or no telling; and never an error."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from serve_app.database.lease_table import HeldLease, TakenLease
from serve_app.database.leases import Leases
from tests.serve_app.database.door import OURS, Door, held, run_leases
from tests.serve_app.database.tables import LEASE_S, Clock, locked


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

    run_leases(tmp_path, test, store_timeout_s=0.02)


def test_of_a_store_that_is_locked_there_is_no_telling_and_it_says_so_once_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        lease = (await held(leases)).lease
        with locked(tmp_path), caplog.at_level(logging.WARNING):
            assert await leases.take("b") is None
            assert await leases.renew(lease) is None
            await leases.release(lease)
            assert await leases.peek("a") == TakenLease(OURS, "", LEASE_S), "reading fails apart"
            assert leases.faults.counts == {f"lease {what} timeout": 1 for what in ("take", "renew", "release")}
            for _ in range(20):
                assert await leases.renew(lease) is None
        assert len(caplog.records) == 3
        assert "database is locked" in caplog.text
        assert await leases.renew(lease) is True

    run_leases(tmp_path, test, store_timeout_s=0.01)


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

    run_leases(tmp_path, test, store_timeout_s=0.01)


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

    run_leases(tmp_path, test, store_timeout_s=0.01)


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

    run_leases(folder, test)


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
        assert all(isinstance(each, HeldLease) for each in await asyncio.gather(*taking))

    run_leases(tmp_path, test)
