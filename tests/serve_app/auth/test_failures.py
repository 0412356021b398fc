from __future__ import annotations

import asyncio

from serve_app.auth.gate import MAX_FAILURES_PER_MINUTE, AuthFailures


async def fail(failures: AuthFailures, address: str, times: int) -> list[float | None]:
    return [await failures.count(address) for _ in range(times)]


def test_after_a_hundred_in_a_minute_an_address_is_told_to_wait() -> None:
    async def scenario() -> None:
        failures = AuthFailures()
        assert await fail(failures, "10.0.0.1", MAX_FAILURES_PER_MINUTE) == [None] * MAX_FAILURES_PER_MINUTE
        for wait_s in await fail(failures, "10.0.0.1", 10):
            assert wait_s is not None
            assert 1 <= wait_s <= 60

    asyncio.run(scenario())


def test_the_addresses_of_one_ipv6_network_are_counted_together() -> None:
    async def scenario() -> None:
        failures = AuthFailures()
        waits_s = [await failures.count(f"2001:db8::{number:x}") for number in range(MAX_FAILURES_PER_MINUTE + 1)]
        assert waits_s[:-1] == [None] * MAX_FAILURES_PER_MINUTE
        assert waits_s[-1] is not None

    asyncio.run(scenario())


def test_a_client_of_many_addresses_takes_no_memory() -> None:
    async def scenario() -> None:
        failures = AuthFailures()
        for number in range(20_000):
            await failures.count(f"10.{number // 65536}.{number // 256 % 256}.{number % 256}")
        storage = failures._limiter.storage
        assert len(vars(storage)["storage"]) <= 1024
        assert len(vars(storage)["locks"]) <= 1024

    asyncio.run(scenario())


def test_whatever_the_server_says_of_the_client_is_counted() -> None:
    async def scenario() -> None:
        for address in ("", "testclient", "/run/socket", "fe80::1%eth0", "::ffff:10.0.0.1"):
            assert await AuthFailures().count(address) is None

    asyncio.run(scenario())
