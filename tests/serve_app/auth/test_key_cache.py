"""A snapshot of the keys: how fresh it is, what it costs, and that all that is wrong is wrong alike."""

from __future__ import annotations

import ast
import asyncio
import hmac
import logging
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from serve_app.auth import keys as api_keys
from serve_app.auth.keys import REFRESH_EVERY_S, ApiKeyCache
from serve_app.database.auth_tables import KeyTable
from serve_app.database.engines import SqliteDatabase
from serve_app.errors import NotReady
from serve_app.faults import Faults
from serve_app.stores.threads import ThreadPool
from tests.serve_app.auth.clock import Clock, until
from tests.serve_app.auth.stores import HeldKeys, unreachable

Test = Callable[[HeldKeys, ApiKeyCache, Clock], Coroutine[Any, Any, None]]


def run(test: Test, keys: HeldKeys | None = None) -> Faults:
    faults = Faults(lambda: 0.0)

    async def within() -> None:
        held, clock = keys or HeldKeys(), Clock()
        ring = ApiKeyCache(held, ThreadPool(1, "keys"), faults, clock=clock, sleep=clock.sleep)
        try:
            await test(held, ring, clock)
        finally:
            await ring.close()

    before = threading.active_count()
    asyncio.run(within())
    assert threading.active_count() <= before
    return faults


def wrong(right: api_keys.NewKey) -> list[bytes]:
    """One of every kind."""
    text = right.text.encode()
    other = api_keys.generate_key().text.encode()
    return [
        b"",
        b"\x00\xff",
        b"x" * 100_000,
        text[:-1],
        text + b"x",
        text.upper(),
        other,
        text[:21] + other[21:],
        other[:21] + text[21:],
        b"mgs__",
    ]


async def begun(keys: HeldKeys, ring: ApiKeyCache, clock: Clock) -> None:
    ring.start()
    await until(lambda: keys.num_calls == 1 and clock.num_asleep == 1)


def test_a_right_key_is_found_and_nothing_else_is() -> None:
    async def test(keys: HeldKeys, ring: ApiKeyCache, clock: Clock) -> None:
        right, another = keys.make("one"), keys.make("another")
        await begun(keys, ring, clock)
        for each, tenant in ((right, "one"), (another, "another")):
            found = await ring.find(each.text.encode())
            assert found is not None
            assert (found.id, found.tenant) == (each.id, tenant)
        for presented in wrong(right):
            assert await ring.find(presented) is None

    run(test)


def test_a_revoked_key_is_out_within_five_seconds() -> None:
    assert REFRESH_EVERY_S + api_keys.MAX_TIMEOUT_S < 5

    async def test(keys: HeldKeys, ring: ApiKeyCache, clock: Clock) -> None:
        key = keys.make()
        await begun(keys, ring, clock)
        keys.keys.clear()
        assert await ring.find(key.text.encode()) is not None
        clock.advance(REFRESH_EVERY_S)
        await until(lambda: keys.num_calls == 2 and clock.num_asleep == 1)
        assert await ring.find(key.text.encode()) is None

    run(test)


def test_a_new_key_is_right_at_once_a_second_after_the_last_reading() -> None:
    async def test(keys: HeldKeys, ring: ApiKeyCache, clock: Clock) -> None:
        await begun(keys, ring, clock)
        key = keys.make()
        assert await ring.find(key.text.encode()) is None
        clock.advance(1)
        found = await asyncio.gather(*(ring.find(key.text.encode()) for _ in range(5)))
        assert all(found)
        assert keys.num_calls == 2

    run(test)


def test_ten_thousand_wrong_keys_cost_one_reading_a_second() -> None:
    async def test(keys: HeldKeys, ring: ApiKeyCache, clock: Clock) -> None:
        right = keys.make()
        await begun(keys, ring, clock)
        kinds = wrong(right)
        for i in range(10_000):
            clock.now_s += 0.001
            assert await ring.find(kinds[i % len(kinds)]) is None
        assert keys.num_calls <= 11

    run(test)


def test_every_kind_of_wrong_takes_the_same_path(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def spy(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", spy)

    async def test(keys: HeldKeys, ring: ApiKeyCache, clock: Clock) -> None:
        right = keys.make()
        await begun(keys, ring, clock)
        for presented in wrong(right):
            clock.advance(1)
            compared.clear()
            calls = keys.num_calls
            assert await ring.find(presented) is None
            assert compared == [(32, 32)] * 2
            assert keys.num_calls - calls == 1

    run(test)


def test_no_digest_is_compared_but_by_hmac() -> None:
    """By the text of the source: of what is called a digest or a secret nothing is compared by an operator."""
    serve_app = Path(api_keys.__file__).parent.parent
    files = [*serve_app.glob("access/*.py"), serve_app / "api/access.py", serve_app / "keys.py"]
    comparisons, calls = [], 0
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and {"digest", "secret", "presented", "key_hash"} & names(node):
                comparisons.append(f"{path.name}:{node.lineno}")
            calls += isinstance(node, ast.Call) and ast.unparse(node.func) == "hmac.compare_digest"
    assert comparisons == []
    assert calls == 1


def names(tree: ast.AST) -> set[str]:
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return found | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def test_before_the_first_reading_nobody_is_right_or_wrong() -> None:
    async def test(keys: HeldKeys, ring: ApiKeyCache, clock: Clock) -> None:
        key = keys.make()
        keys.error = unreachable()
        ring.start()
        await until(lambda: keys.num_calls == 1 and clock.num_asleep == 1)
        for _ in range(100):
            with pytest.raises(NotReady) as raised:
                await ring.find(key.text.encode())
            assert raised.value.retry_after_s is not None
        assert keys.num_calls == 1
        keys.error = None
        clock.advance(REFRESH_EVERY_S)
        await until(lambda: keys.num_calls == 2 and clock.num_asleep == 1)
        assert await ring.find(key.text.encode()) is not None

    run(test)


def test_while_the_records_are_down_the_last_keys_stay_and_nobody_waits(caplog: pytest.LogCaptureFixture) -> None:
    async def test(keys: HeldKeys, ring: ApiKeyCache, clock: Clock) -> None:
        key = keys.make()
        await begun(keys, ring, clock)
        keys.error = unreachable()
        for _ in range(20):
            clock.advance(REFRESH_EVERY_S)
            await until(lambda: clock.num_asleep == 1)
        calls = keys.num_calls
        clock.now_s += 1.5
        assert await ring.find(key.text.encode()) is not None
        assert await ring.find(b"wrong") is None
        assert keys.num_calls == calls

    with caplog.at_level(logging.WARNING):
        faults = run(test)
    assert faults.counts["keys read unreachable"] == 20
    assert len(caplog.records) == 1


def test_who_leaves_does_not_end_the_reading_that_others_wait_for() -> None:
    opened = threading.Event()

    class Slow(HeldKeys):
        def all(self) -> list[Any]:
            opened.wait()
            return super().all()

    async def test(keys: HeldKeys, ring: ApiKeyCache, clock: Clock) -> None:
        key = keys.make()
        asking = [asyncio.create_task(ring.find(key.text.encode())) for _ in range(3)]
        await asyncio.sleep(0)
        asking[0].cancel()
        await asyncio.wait({asking[0]})
        opened.set()
        assert all(await asyncio.gather(*asking[1:]))
        assert keys.num_calls == 1

    run(test, Slow())


def test_keys_that_are_not_read_again_are_not_trusted() -> None:
    async def test(keys: HeldKeys, ring: ApiKeyCache, clock: Clock) -> None:
        key = keys.make()
        await begun(keys, ring, clock)
        keys.error = ZeroDivisionError()
        clock.advance(REFRESH_EVERY_S)
        await until(lambda: ring._refreshing.fault is not None)
        with pytest.raises(ZeroDivisionError):
            await ring.find(key.text.encode())

    with pytest.raises(ZeroDivisionError):
        run(test)


def test_it_reads_the_keys_of_a_real_table(tmp_path: Path) -> None:
    table = KeyTable(SqliteDatabase(tmp_path / "records.sqlite", timeout_s=5, max_connections=2))
    key, gone = api_keys.generate_key(), api_keys.generate_key()
    for each in (key, gone):
        table.add(api_keys.ApiKey(each.id, "tenant", "", each.digest, created_s=1.0))
    assert table.revoke(gone.id, 2.0)

    async def scenario() -> None:
        ring = ApiKeyCache(table, ThreadPool(1, "keys"), Faults(lambda: 0.0))
        try:
            found = await ring.find(key.text.encode())
            assert found is not None
            assert found.digest == key.digest
            assert await ring.find(gone.text.encode()) is None
        finally:
            await ring.close()
            table.database.close()

    asyncio.run(scenario())
