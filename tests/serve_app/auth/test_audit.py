"""What was asked is written down in batches, and none of it is lost while there is room."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serve_app.auth.audit import BATCH_SIZE, MAX_WAITING, SWEEP_EVERY_S, WRITE_EVERY_S, Audit
from serve_app.database.auth_tables import AuditTable
from serve_app.database.engines import SqliteDatabase
from serve_app.faults import Faults
from serve_app.identity import AuditRecord
from serve_app.settings.application import AuditSettings
from serve_app.stores.threads import ThreadPool
from tests.serve_app.auth.clock import Clock, until
from tests.serve_app.auth.stores import RECORD, HeldLines, unreachable

Test = Callable[[HeldLines, Audit, Clock], Coroutine[Any, Any, None]]


def run(test: Test, lines: HeldLines | None = None, **settings: Any) -> Faults:
    """The audit is closed after the test."""
    faults = Faults(lambda: 0.0)

    async def within() -> None:
        held, clock = lines or HeldLines(), Clock()
        audit = Audit(held, ThreadPool(1, "audit"), faults, AuditSettings(**settings), clock=clock, sleep=clock.sleep)
        try:
            await test(held, audit, clock)
        finally:
            closing = asyncio.create_task(audit.close())
            while not closing.done():
                clock.advance(WRITE_EVERY_S)
                await asyncio.sleep(0.001)
            await closing

    before = threading.active_count()
    asyncio.run(within())
    assert threading.active_count() <= before
    return faults


def put(audit: Audit, first: int, last: int) -> None:
    for number in range(first, last):
        audit.put(replace(RECORD, at_s=float(number)))


def numbers(records: Sequence[AuditRecord]) -> list[int]:
    return [int(record.at_s) for record in records]


def test_records_are_written_a_second_later_in_one_batch_and_in_their_order() -> None:
    async def test(lines: HeldLines, audit: Audit, clock: Clock) -> None:
        audit.start()
        await until(lambda: clock.num_asleep == 1)
        put(audit, 0, BATCH_SIZE - 1)
        await asyncio.sleep(0.005)
        assert lines.batches == []
        clock.advance(WRITE_EVERY_S)
        await until(lambda: audit.num_waiting == 0 and bool(lines.batches))
        assert [numbers(batch) for batch in lines.batches] == [list(range(BATCH_SIZE - 1))]

    run(test)


def test_a_full_batch_waits_for_no_clock() -> None:
    async def test(lines: HeldLines, audit: Audit, clock: Clock) -> None:
        audit.start()
        await until(lambda: clock.num_asleep == 1)
        put(audit, 0, 5 * BATCH_SIZE + 1)
        await until(lambda: len(lines.records) == 5 * BATCH_SIZE + 1)
        assert [len(batch) for batch in lines.batches] == [BATCH_SIZE] * 5 + [1]

    run(test)


def test_what_waits_at_the_end_is_written() -> None:
    lines = HeldLines()

    async def test(_: HeldLines, audit: Audit, clock: Clock) -> None:
        audit.start()
        put(audit, 0, 7)

    run(test, lines)
    assert numbers(lines.records) == list(range(7))


def test_a_write_on_its_way_at_the_end_is_not_made_twice() -> None:
    opened, reached = threading.Event(), threading.Event()

    class Slow(HeldLines):
        def write(self, records: Sequence[AuditRecord], /) -> None:
            reached.set()
            opened.wait()
            super().write(records)

    lines = Slow()

    async def test(_: HeldLines, audit: Audit, clock: Clock) -> None:
        put(audit, 0, 3)
        audit.start()
        await until(reached.is_set)
        put(audit, 3, 4)
        asyncio.get_running_loop().call_later(0.01, opened.set)

    run(test, lines)
    assert numbers(lines.records) == [0, 1, 2, 3]


def test_while_the_records_are_down_the_newest_ten_thousand_wait(caplog: pytest.LogCaptureFixture) -> None:
    lines = HeldLines()
    lines.error = unreachable()

    async def test(_: HeldLines, audit: Audit, clock: Clock) -> None:
        audit.start()
        put(audit, 0, MAX_WAITING + 300)
        for _round in range(5):
            await until(lambda: clock.num_asleep == 1)
            clock.advance(WRITE_EVERY_S)
        await until(lambda: clock.num_asleep == 1)
        assert audit.num_waiting == MAX_WAITING
        lines.error = None

    with caplog.at_level(logging.WARNING):
        faults = run(test, lines)
    assert numbers(lines.records) == list(range(300, MAX_WAITING + 300))
    assert faults.counts["audit dropped"] == 300
    assert faults.counts["audit write unreachable"] >= 5
    assert len(caplog.records) == 2


def test_a_redacted_prompt_is_not_even_kept_in_memory() -> None:
    lines = HeldLines()

    async def test(_: HeldLines, audit: Audit, clock: Clock) -> None:
        audit.put(replace(RECORD, prompt="canary-51c0"))
        assert "canary" not in repr(vars(audit))

    run(test, lines, prompts="redacted")
    assert [record.prompt for record in lines.records] == [None]


def test_a_prompt_is_kept_where_the_settings_say_so() -> None:
    lines = HeldLines()

    async def test(_: HeldLines, audit: Audit, clock: Clock) -> None:
        audit.put(RECORD)

    run(test, lines)
    assert lines.records == [RECORD]


def test_what_is_old_is_swept_away_now_and_then() -> None:
    lines = HeldLines()
    lines.old = 3

    async def test(_: HeldLines, audit: Audit, clock: Clock) -> None:
        audit.start()
        for _round in range(5):
            await until(lambda: clock.num_asleep == 1)
            clock.advance(WRITE_EVERY_S)
        await until(lambda: clock.num_asleep == 1)
        assert lines.swept_before_s == [900.0, 901.0, 902.0]
        clock.advance(SWEEP_EVERY_S)
        await until(lambda: clock.num_asleep == 1)
        assert len(lines.swept_before_s) == 4

    run(test, lines, keep_s=100.0)


def test_nothing_is_swept_away_that_is_kept_for_ever() -> None:
    async def test(lines: HeldLines, audit: Audit, clock: Clock) -> None:
        audit.start()
        await until(lambda: clock.num_asleep == 1)
        assert lines.swept_before_s == []

    run(test, keep_s=None)


def test_a_fault_of_the_writer_is_told_and_travels(caplog: pytest.LogCaptureFixture) -> None:
    lines = HeldLines()
    lines.error = ZeroDivisionError()

    async def test(_: HeldLines, audit: Audit, clock: Clock) -> None:
        put(audit, 0, 1)
        audit.start()
        while "audit stopped" not in caplog.text:
            await asyncio.sleep(0.001)
            put(audit, 1, 2)

    with pytest.raises(ZeroDivisionError):
        run(test, lines)


def test_it_writes_to_a_real_table(tmp_path: Path) -> None:
    table = AuditTable(SqliteDatabase(tmp_path / "records.sqlite", timeout_s=5, max_connections=2))

    async def scenario() -> None:
        audit = Audit(
            table, ThreadPool(1, "audit"), Faults(lambda: 0.0), AuditSettings(keep_s=100.0), clock=lambda: 1050.0
        )
        put(audit, 0, 2500)
        assert await audit.flush()
        await audit.sweep()
        await audit.close()

    asyncio.run(scenario())
    assert numbers(table.page("tenant", 5000, 1e9)) == list(range(2499, 949, -1))
    table.database.close()
