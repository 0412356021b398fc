"""Whatever happens to the S3 server, requests are served, nothing corrupt is sent, and it is used again when back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest

from serve_app.cache.cache import Cache
from serve_app.cache.keys import audio_key, generation_key
from tests.s3_server import ACCESS_KEY, SECRET_KEY, USER, S3Server
from tests.serve_app.cache.cached import REQUEST, Clock, codes_of, sound_of, with_cache
from tests.serve_app.stores.cutting_proxy import CuttingProxy
from tests.serve_app.stores.s3_store import TIMEOUT_S, opened

Fault = Callable[[S3Server, CuttingProxy], AbstractContextManager[None]]


@contextlib.contextmanager
def down(s3: S3Server, proxy: CuttingProxy) -> Iterator[None]:
    proxy.stop()
    yield
    proxy.start()


@contextlib.contextmanager
def slow(s3: S3Server, proxy: CuttingProxy) -> Iterator[None]:
    with s3.frozen():
        yield


@contextlib.contextmanager
def denied(s3: S3Server, proxy: CuttingProxy) -> Iterator[None]:
    s3.admin("user", "suspend", f"--uid={USER}")
    yield
    s3.admin("user", "enable", f"--uid={USER}")


@contextlib.contextmanager
def with_an_expired_key(s3: S3Server, proxy: CuttingProxy) -> Iterator[None]:
    s3.admin("key", "rm", f"--uid={USER}", "--key-type=s3", f"--access-key={ACCESS_KEY}")
    yield
    s3.admin("key", "create", f"--uid={USER}", "--key-type=s3", f"--access-key={ACCESS_KEY}", f"--secret={SECRET_KEY}")


@contextlib.contextmanager
def half_bodied(s3: S3Server, proxy: CuttingProxy) -> Iterator[None]:
    # Past the headers and into the body of what is kept, which is 6 kB.
    proxy.cut_after = 3_000
    yield
    proxy.cut_after = None


@pytest.mark.parametrize(
    ("fault", "counted"),
    [
        (down, "read unreachable"),
        (slow, "read timeout"),
        (denied, "read denied"),
        (with_an_expired_key, "read denied"),
        (half_bodied, "read unreachable"),
    ],
)
def test_a_store_at_fault_is_a_miss_within_its_time_and_used_again_when_it_is_back(
    s3: S3Server, bucket: str, proxy: CuttingProxy, fault: Fault, counted: str
) -> None:
    breaker_clock = Clock()
    request = replace(REQUEST, prompt=fault.__name__)
    codes, longer = codes_of(request, 7, 800), codes_of(request, 7, 801)
    under = generation_key(request, 7)

    async def test(cache: Cache) -> None:
        await back(cache, breaker_clock)
        with fault(s3, proxy):
            # Twenty clients at once, the first of whom find out, and then a hundred in turn.
            found = await asyncio.gather(*(cache.look_up(request, "use", 7, num_frames=800) for _ in range(20)))
            began = time.monotonic()
            found += [await cache.look_up(request, "use", 7, num_frames=800) for _ in range(100)]
            assert time.monotonic() - began < TIMEOUT_S, "a store known to be down costs nothing"
            assert {each.decision.outcome for each in found} == {"miss"}
            assert {each.codes for each in found} == {None}
            assert cache.faults.counts[counted] >= 3
            assert cache.faults.counts["read left out"] >= 100
            assert not await cache.keep_codes(under, longer, request.model.numerics) or fault is half_bodied
        await back(cache, breaker_clock)

    async def back(cache: Cache, clock: Clock) -> None:
        # The server may need a moment; each call is a trial that is due, and one that comes through closes the breaker.
        until = time.monotonic() + 30
        while not await cache.keep_codes(under, codes, request.model.numerics):
            assert time.monotonic() < until, "the store is back, and not written to"
            clock.now_s += 31
            await asyncio.sleep(0.05)
        while (found := await cache.look_up(request, "use", 7, num_frames=800)).decision.outcome == "miss":
            assert time.monotonic() < until, "the store is back, and not read"
            clock.now_s += 31
            await asyncio.sleep(0.05)
        assert found.codes
        assert (found.codes.codes[:, :800] == codes).all()

    with opened(s3, endpoint_url=proxy.url) as store:
        asyncio.run(with_cache(store, test, breaker_clock=breaker_clock, timeout_s=TIMEOUT_S, ttl_s=None))


def test_a_full_bucket_is_still_read_and_takes_entries_again_when_there_is_room(s3: S3Server, bucket: str) -> None:
    breaker_clock = Clock()
    codes = codes_of(REQUEST, 7, 5)
    sound = replace(sound_of(codes, 0.0), sound=bytes(100_000))

    async def test(cache: Cache) -> None:
        under = generation_key(REQUEST, 7)
        assert await cache.keep_codes(under, codes, REQUEST.model.numerics)
        s3.admin("quota", "set", "--quota-scope=user", f"--uid={USER}", "--max-size=4096")
        s3.admin("quota", "enable", "--quota-scope=user", f"--uid={USER}")
        try:
            for number in range(10):
                assert not await cache.keep_sound(audio_key(under, number, "wav", None), sound)
                assert (await cache.look_up(REQUEST, "use", 7, num_frames=5)).decision.outcome == "hit"
            assert cache.faults.counts == {"write full": 3, "write left out": 7}
        finally:
            s3.admin("quota", "disable", "--quota-scope=user", f"--uid={USER}")
        until = time.monotonic() + 30
        while not await cache.keep_sound(audio_key(under, 1, "wav", None), sound):
            assert time.monotonic() < until, "there is room, and it is not used"
            breaker_clock.now_s += 31
            await asyncio.sleep(0.05)
        assert await cache.sound(audio_key(under, 1, "wav", None)) == sound

    with opened(s3) as store:
        asyncio.run(with_cache(store, test, breaker_clock=breaker_clock, ttl_s=None))
