"""One gets the lease, the others learn who has it, and none is left behind by who went away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from serve_app.database.lease_table import HeldLease, Lease, TakenLease
from serve_app.database.leases import Leases
from tests.serve_app.database.door import OURS, Door, held, run_leases
from tests.serve_app.database.tables import LEASE_S, Clock


def test_one_gets_it_and_the_others_learn_who_has_it(tmp_path: Path) -> None:
    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        outcomes = await asyncio.gather(*(leases.take("a", value="seed 7") for _ in range(20)))
        assert sorted(map(repr, outcomes)) == sorted(
            map(repr, [HeldLease(Lease("a", OURS, 1), clock.now_s + LEASE_S), *[TakenLease(OURS, "seed 7", LEASE_S)] * 19])
        )
        assert await leases.peek("a") == TakenLease(OURS, "seed 7", LEASE_S)
        lease = Lease("a", OURS, 1)
        assert await leases.renew(lease) is True
        await leases.release(lease)
        assert await leases.peek("a") is None
        assert await leases.renew(lease) is False
        assert not leases.faults.counts

    run_leases(tmp_path, test)


def test_a_lease_is_sure_from_before_it_was_asked_for(tmp_path: Path) -> None:
    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        asked_s = clock.now_s
        table.opened.clear()
        taking = asyncio.create_task(held(leases))
        await asyncio.to_thread(table.reached.acquire)
        clock.now_s += 3
        table.opened.set()
        assert (await taking).sure_until_s == asked_s + LEASE_S

    run_leases(tmp_path, test)


def test_a_lease_that_nobody_waits_for_any_more_is_given_back(tmp_path: Path) -> None:
    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        table.opened.clear()
        taking = asyncio.create_task(leases.take("a"))
        await asyncio.to_thread(table.reached.acquire)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        assert table.peek("a") == TakenLease(OURS, "", LEASE_S)
        table.opened.set()
        while table.peek("a") is not None:
            await asyncio.sleep(0.001)
        assert (await held(leases)).lease.token == 2

    run_leases(tmp_path, test)


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

    run_leases(tmp_path, test, timeout_s=0.05)


def test_who_is_cancelled_while_giving_back_has_given_it_back(tmp_path: Path) -> None:
    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        lease = (await held(leases)).lease
        releasing = asyncio.create_task(leases.release(lease))
        await asyncio.sleep(0)
        releasing.cancel()
        await asyncio.gather(releasing, return_exceptions=True)
        await leases.settled()
        assert table.peek("a") is None

    run_leases(tmp_path, test)


def test_what_is_no_fault_of_a_store_travels(tmp_path: Path) -> None:
    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        with pytest.raises(ValueError, match="200 printable characters"):
            await leases.take("a" * 201)

    run_leases(tmp_path, test)


def test_closing_waits_for_what_is_being_given_back(tmp_path: Path) -> None:
    async def test(leases: Leases, table: Door, clock: Clock) -> None:
        lease = (await held(leases)).lease
        releasing = asyncio.create_task(leases.release(lease))
        await asyncio.sleep(0)
        await leases.close()
        await releasing
        assert table.peek("a") is None
        table.close()

    run_leases(tmp_path, test)
