"""The cache keeps what it is given, and gives nothing that is broken, another's, or too old."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serve_app.cache.cache import Cache
from serve_app.cache.entry import VERSION, CachedAlias, CachedCodes, Packed, pack, unpack
from serve_app.cache.keys import Key, alias_key, audio_key, generation_key
from serve_app.stores.folder import FolderStore
from tests.serve_app.cache.cached import MODEL, REQUEST, Clock, InMemory, codes_of, key, sound_of, with_cache
from tests.serve_app.cache.serving import FIRST_DRAWN, TTL_S, run, served
from tests.serve_app.cache.test_entry import as_version


def test_sound_is_found_under_its_key_by_whoever_asks_with_the_seed_or_without() -> None:
    clock = Clock()

    async def test(cache: Cache) -> None:
        assert await cache.seed_for(REQUEST, "use", None) is None
        outcome, seed, codes, _ = await served(cache, REQUEST, "use", None, 50)
        assert outcome == "miss"
        assert await cache.seed_for(REQUEST, "use", None) == seed
        assert await cache.seed_for(REQUEST, "refresh", None) is None
        assert await cache.seed_for(REQUEST, "off", None) is None
        assert await cache.seed_for(REQUEST, "off", 3) == 3
        under = audio_key(generation_key(REQUEST, seed), 1_000, "wav", None)
        assert await cache.sound(under) is None
        sound = sound_of(np.array(codes, np.int16), clock.now_s)
        assert await cache.keep_sound(under, sound)
        assert await cache.sound(under) == sound
        clock.now_s += 61.5
        assert cache.age_s(sound) == 61
        clock.now_s -= 3600
        assert cache.age_s(sound) == 0

    run(InMemory(), test, clock=clock)


@pytest.mark.parametrize("remembers", [False, True])
def test_a_broken_entry_is_a_miss_and_is_deleted_and_counted(remembers: bool, caplog: pytest.LogCaptureFixture) -> None:
    store = InMemory()

    async def test(cache: Cache) -> None:
        first = await served(cache, REQUEST, "use", 7, 5)
        under = generation_key(REQUEST, 7)
        whole = store.entries[under]
        cut, changed = whole.body[:-1], bytes(len(whole.body))
        for broken in (replace(whole, body=cut), replace(whole, body=changed), Packed(b"", b"")):
            store.entries[under] = broken
            found = await cache.look_up(REQUEST, "use", 7, num_frames=5)
            if remembers:
                assert found.decision.outcome == "hit"
                continue
            await cache.settled()
            assert found.decision.outcome == "miss"
            assert under not in store.entries
        assert cache.faults.counts["broken entry"] == (0 if remembers else 3)
        assert (await served(cache, REQUEST, "use", 7, 5))[1:3] == first[1:3]

    run(store, test, memory_bytes=2**20 if remembers else 0)
    assert len(caplog.records) == (0 if remembers else 1)


def test_an_entry_of_a_newer_version_is_a_miss_that_nobody_deletes_or_writes_over() -> None:
    store = InMemory()
    codes, alias = generation_key(REQUEST, 7), alias_key(REQUEST)
    sound = audio_key(codes, 1_000, "wav", None)
    for under, kept in (
        (codes, CachedCodes(codes_of(REQUEST, 7, 5), MODEL.numerics, 0.0)),
        (alias, CachedAlias(7, 0.0)),
        (sound, sound_of(codes_of(REQUEST, 7, 5), 0.0)),
    ):
        store.entries[under] = as_version(pack(under, kept), VERSION + 1)
    before = dict(store.entries)

    async def test(cache: Cache) -> None:
        assert (await served(cache, REQUEST, "use", 7, 5))[0] == "miss"
        assert (await served(cache, REQUEST, "refresh", 7, 5))[0] == "miss"
        outcome, seed, _, _ = await served(cache, REQUEST, "use", None, 5)
        assert (outcome, seed) == ("miss", FIRST_DRAWN)
        assert await cache.sound(sound) is None
        assert not await cache.keep_sound(sound, sound_of(codes_of(REQUEST, 7, 5), 0.0))
        assert cache.faults.counts["newer entry"] == 7
        assert before.items() <= store.entries.items()

    run(store, test, memory_bytes=2**20)


def test_codes_of_other_numerics_are_never_gone_on_from() -> None:
    async def test(cache: Cache) -> None:
        await cache.keep_codes(generation_key(REQUEST, 7), codes_of(REQUEST, 7, 5), "aarch64 torch 2.13 float32")
        assert (await served(cache, REQUEST, "use", 7, 9))[0] == "miss"

    run(InMemory(), test)


def test_one_scope_never_sees_what_another_keeps() -> None:
    async def test(cache: Cache) -> None:
        for seed in (7, None):
            assert (await served(cache, REQUEST, "use", seed, 5))[0] == "miss"
            assert (await served(cache, replace(REQUEST, scope="another"), "use", seed, 5))[0] == "miss"
            assert (await served(cache, REQUEST, "use", seed, 5))[0] == "hit"

    run(InMemory(), test)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_moved_by_an_hour_changes_nothing(hours: int, tmp_path: Path) -> None:
    clock = Clock()

    async def test(cache: Cache) -> None:
        assert (await served(cache, REQUEST, "use", None, 5))[0] == "miss"
        clock.now_s += hours * 3600
        assert (await served(cache, REQUEST, "use", None, 5))[0] == "hit"
        assert (await served(cache, REQUEST, "use", None, 9))[0] == "extended"

    run(FolderStore(tmp_path, 2**24, 2**23, max_age_s=86_400, clock=clock), test, clock=clock, ttl_s=86_400.0)


def test_what_never_expires_never_does() -> None:
    clock = Clock()

    async def test(cache: Cache) -> None:
        await served(cache, REQUEST, "use", None, 5)
        clock.now_s += 10**9
        assert (await served(cache, REQUEST, "use", None, 5))[0] == "hit"

    run(InMemory(), test, clock=clock, ttl_s=None)


def test_what_is_remembered_asks_the_store_for_the_alias_alone() -> None:
    asked: list[Key] = []

    class Listening(InMemory):
        def get(self, key: Key) -> Packed | None:
            asked.append(key)
            return super().get(key)

    async def test(cache: Cache) -> None:
        seed = (await served(cache, REQUEST, "use", None, 5))[1]
        under = audio_key(generation_key(REQUEST, seed), 1_000, "wav", None)
        await cache.keep_sound(under, sound_of(codes_of(REQUEST, seed, 5), Clock()()))
        asked.clear()
        assert (await served(cache, REQUEST, "use", None, 5))[0] == "hit"
        assert await cache.sound(under)
        assert asked == [alias_key(REQUEST)]

    run(Listening(), test, memory_bytes=2**20)


def test_another_replicas_refresh_is_seen_at_once() -> None:
    store = InMemory()
    draw = itertools.count(FIRST_DRAWN).__next__

    async def test(one: Cache) -> None:
        async def within(other: Cache) -> None:
            await served(one, REQUEST, "use", None, 5)
            refreshed = await served(other, REQUEST, "refresh", None, 5)
            assert refreshed[:2] == ("miss", FIRST_DRAWN + 1)
            assert (await served(one, REQUEST, "use", None, 5))[:2] == ("hit", FIRST_DRAWN + 1)

        await with_cache(store, within, ttl_s=TTL_S, draw=draw, memory_bytes=2**20)

    run(store, test, draw=draw, memory_bytes=2**20)


def test_large_sound_comes_back_whole() -> None:
    async def test(cache: Cache) -> None:
        large = replace(sound_of(np.zeros((4, 1), np.int16), Clock()()), sound=bytes(range(256)) * 4096)
        await cache.keep_sound(key("large", "sound"), large)
        assert await cache.sound(key("large", "sound")) == large

    run(InMemory(), test)


def test_entries_are_the_documented_ones() -> None:
    store = InMemory()

    async def test(cache: Cache) -> None:
        await served(cache, REQUEST, "use", None, 5)
        alias = unpack(alias_key(REQUEST), store.entries[alias_key(REQUEST)])
        assert alias == CachedAlias(FIRST_DRAWN, Clock()())
        kept = unpack(generation_key(REQUEST, FIRST_DRAWN), store.entries[generation_key(REQUEST, FIRST_DRAWN)])
        assert isinstance(kept, CachedCodes)
        assert kept.numerics == MODEL.numerics

    run(store, test)
