"""Whatever happens to S3, clients get their clips, byte for byte; and it is used again when it is back."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.s3_base import Lender
from tests.s3_server import ACCESS_KEY, SECRET_KEY, S3Server
from tests.serve_app.stores.cutting_proxy import CuttingProxy
from tests.serve_app.stores.sessions import USER_KEYS, write_keys
from tests.service.conftest import RunningService
from tests.service.support.frontends import (
    WAIT_TIMEOUT_S,
    Frontend,
    check_clip,
    compose,
    run_frontend,
    wait_until_cached,
)

pytestmark = pytest.mark.slow

READ_TIMEOUT_S = 1.0
# Of one call of the store: the default.
MAX_ATTEMPTS = 2
# What each HTTP method is in the counts of faults.
METHODS = {"GET": "read", "PUT": "write"}
# Until each of a request's ways to the store is known to be down: the ingress looks for sound, the pipeline for codes,
# and once more when it has the lease.
READS = 3
# In the background, before codes and sound of two clips are written: a newer program's would be left as they are.
READS_TO_WRITE = 4


@dataclass
class Site:
    """A frontend that caches everything in S3 and nothing in memory.

    lender: of keys, where its proxy leads to. keys: the file with its keys. seeds: that no test has had.
    """

    frontend: Frontend
    proxy: CuttingProxy
    s3: S3Server
    lender: Lender
    bucket: str
    keys: Path
    seeds: Iterator[int]


@pytest.fixture(scope="module")
def site(
    service: RunningService, s3: S3Server, bucket: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    keys = Path.home() / ".aws" / "credentials"  # Ray's processes have the home of the tests
    write_keys(keys, USER_KEYS)
    with s3.lender() as lender, CuttingProxy(lender.url, free_port()).running() as proxy:
        proxy.start()
        store = {"kind": "s3", "bucket": bucket, "endpoint_url": proxy.url, "region": "us-east-1"}
        cache = {"store": store, "memory_size": 0, "read_timeout_s": READ_TIMEOUT_S, "write_timeout_s": 2.0}
        records = {"url": f"sqlite:///{folder}/records.sqlite"}
        with run_frontend(service, "s3", folder / "logs", cache=cache, records=records) as running:
            yield Site(running, proxy, s3, lender, bucket, keys, itertools.count())
    keys.unlink()


# The stack is left at the end of the test, when the store has been used again.
Fault = Callable[[Site, contextlib.ExitStack], AbstractContextManager[None]]


@contextlib.contextmanager
def slow(site: Site, _: contextlib.ExitStack) -> Iterator[None]:
    """No call that is made meanwhile is ever answered: whoever goes on has given up waiting."""
    site.proxy.delay_s = math.inf
    try:
        yield
    finally:
        site.proxy.delay_s = 0.0


@contextlib.contextmanager
def down(site: Site, _: contextlib.ExitStack) -> Iterator[None]:
    site.proxy.stop()
    try:
        yield
    finally:
        site.proxy.start()


@contextlib.contextmanager
def halving_bodies(site: Site, _: contextlib.ExitStack) -> Iterator[None]:
    site.proxy.halves = True
    try:
        yield
    finally:
        site.proxy.halves = False


@contextlib.contextmanager
def denied(site: Site, _: contextlib.ExitStack) -> Iterator[None]:
    with site.s3.suspended_user():
        yield


@contextlib.contextmanager
def with_an_expired_key(site: Site, end: contextlib.ExitStack) -> Iterator[None]:
    """The key it has is taken away, and in its file is that of a session that is over; then there is a new one."""
    lent = site.lender.lent_keys()
    write_keys(site.keys, site.lender.expired_keys(site.bucket))
    end.callback(write_keys, site.keys, USER_KEYS)
    end.enter_context(site.s3.removed_key())
    try:
        yield
    finally:
        write_keys(site.keys, lent)


@pytest.mark.parametrize(
    ("fault", "counted"),
    [
        (slow, {"read timeout", "write timeout"}),
        (down, {"read unreachable", "write unreachable"}),
        (halving_bodies, {"read unreachable"}),
        (denied, {"read denied", "write denied"}),
        (with_an_expired_key, {"read denied", "write denied"}),
    ],
)
def test_while_s3_is_at_fault_clips_are_made_without_it_and_afterwards_they_come_from_it(
    site: Site, fault: Fault, counted: set[str]
) -> None:
    with site.frontend.client() as client, contextlib.ExitStack() as end:
        clips = {next(site.seeds): b"" for _ in range(2)}
        for seed in clips:
            clips[seed] = compose(client, seed, cache="off").content
        (cached, clip), (fresh, fresh_clip) = clips.items()
        wait_until_cached(client, cached, clip)
        with fault(site, end):
            num_asked = site.proxy.num_calls["GET"]
            check_clip(client, fresh, fresh_clip, "miss", cache="off")
            check_clip(client, cached, clip, "miss")
            num_calls = site.proxy.num_calls["GET"] - num_asked
            assert num_calls <= (READS + READS_TO_WRITE) * MAX_ATTEMPTS, "it asks the store again and again"
            assert compose(client, fresh, "/v1/music/stream").content == fresh_clip
            until = time.monotonic() + WAIT_TIMEOUT_S
            # What does not fail goes on, as writing does where only what is read is cut.
            methods = [method for method, what in METHODS.items() if any(kind.startswith(what) for kind in counted)]
            num_calls = -1
            while num_calls != (now := sum(site.proxy.num_calls[method] for method in methods)):
                assert time.monotonic() < until, "every request goes on asking a store that is known to be down"
                num_calls = now
                check_clip(client, cached, clip, "miss", "joined")
            site.frontend.tells(*counted)
            if fault is slow:
                limits = re.findall(r"read timeout: .*(?:within|after) ([0-9.]+) s", site.frontend.log())
                assert set(map(float, limits)) == {READ_TIMEOUT_S}, "it waits for longer than set"
        for seed in clips:
            wait_until_cached(client, seed, clips[seed])


def test_a_full_bucket_is_read_and_takes_clips_again_when_there_is_room(site: Site) -> None:
    with site.frontend.client() as client, contextlib.ExitStack() as end:
        cached, fresh = next(site.seeds), next(site.seeds)
        clip, fresh_clip = (compose(client, seed, cache="off").content for seed in (cached, fresh))
        wait_until_cached(client, cached, clip)
        end.enter_context(site.s3.full_bucket(site.bucket))
        for _ in range(3):
            check_clip(client, fresh, fresh_clip, "miss", "joined")
            check_clip(client, cached, clip, "hit")
        site.frontend.tells("write full")
        end.close()
        wait_until_cached(client, fresh, fresh_clip)


def test_overwritten_objects_in_the_bucket_are_made_again_and_the_log_holds_no_secret(site: Site) -> None:
    with site.frontend.client() as client, contextlib.closing(site.s3.client()) as s3:
        seed = next(site.seeds)
        clip = compose(client, seed, cache="off").content
        before = cached_objects(s3, site.bucket)
        wait_until_cached(client, seed, clip)
        for name in cached_objects(s3, site.bucket) - before:
            there = s3.get_object(Bucket=site.bucket, Key=name)
            changed = bytes(there["ContentLength"])
            s3.put_object(Bucket=site.bucket, Key=name, Body=changed, Metadata=there["Metadata"])
        check_clip(client, seed, clip, "miss")
        wait_until_cached(client, seed, clip)
    site.frontend.tells("broken entry")
    log = site.frontend.log()
    assert all(secret not in log for secret in (SECRET_KEY, ACCESS_KEY))


def cached_objects(s3: Any, bucket: str) -> set[str]:
    return {each["Key"] for each in s3.list_objects_v2(Bucket=bucket, Prefix="musicgen/").get("Contents", ())}
