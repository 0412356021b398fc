"""Whatever happens to S3, clients get their clips, byte for byte, soon enough; and it is used again when it is back."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.s3_server import ACCESS_KEY, SECRET_KEY, USER, S3Server, free_ports
from tests.serve_app.stores.cutting_proxy import CuttingProxy
from tests.serve_app.stores.sessions import USER_KEYS, expired_keys, lending_gateway, lent_keys, write_keys
from tests.service.conftest import RunningService
from tests.service.support.frontends import WAIT_TIMEOUT_S, Frontend, compose, run_frontend, timed, wait_until_cached

pytestmark = pytest.mark.slow

READ_TIMEOUT_S = 1.0
SLOW_S = 5.0
# Until each of a request's ways to the store is known to be down: the ingress looks for sound, the pipeline for codes,
# and once more when it has the lease.
READS = 3


@dataclass
class Site:
    """A frontend that caches everything in S3 and nothing in memory.

    gateway: where its proxy leads to. keys: the file with its keys. seeds: that no test has had.
    """

    run_frontend: Frontend
    proxy: CuttingProxy
    s3: S3Server
    gateway: str
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
    with lending_gateway(s3) as gateway, CuttingProxy(gateway, *free_ports(1)).running() as proxy:
        proxy.start()
        store = {"kind": "s3", "bucket": bucket, "endpoint_url": proxy.url, "region": "us-east-1"}
        cache = {"store": store, "memory_size": 0, "read_timeout_s": READ_TIMEOUT_S, "write_timeout_s": 2.0}
        records = {"url": f"sqlite:///{folder}/records.sqlite"}
        with run_frontend(service, "s3", folder / "logs", cache=cache, records=records) as running:
            yield Site(running, proxy, s3, gateway, bucket, keys, itertools.count())
    keys.unlink()


# The stack is left at the end of the test, when the store has been used again.
Fault = Callable[[Site, contextlib.ExitStack], AbstractContextManager[None]]


@contextlib.contextmanager
def slow(site: Site, _: contextlib.ExitStack) -> Iterator[None]:
    site.proxy.delay_s = SLOW_S
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
    site.s3.admin("user", "suspend", f"--uid={USER}")
    try:
        yield
    finally:
        site.s3.admin("user", "enable", f"--uid={USER}")


@contextlib.contextmanager
def with_an_expired_key(site: Site, end: contextlib.ExitStack) -> Iterator[None]:
    """The key it has is taken away, and in its file is that of a session that is over; then there is a new one."""
    user_key = (f"--uid={USER}", "--key-type=s3", f"--access-key={ACCESS_KEY}")
    lent = lent_keys(site.s3, site.gateway, 900)
    write_keys(site.keys, expired_keys(site.s3, site.gateway, site.bucket))
    end.callback(write_keys, site.keys, USER_KEYS)
    end.callback(site.s3.admin, "key", "create", *user_key, f"--secret={SECRET_KEY}")
    site.s3.admin("key", "rm", *user_key)
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
def test_while_s3_is_at_fault_clips_are_made_in_time_and_afterwards_they_come_from_it(
    site: Site, fault: Fault, counted: set[str]
) -> None:
    with site.frontend.client() as client, contextlib.ExitStack() as end:
        clips = {next(site.seeds): b"" for _ in range(2)}
        for seed in clips:
            clips[seed] = compose(client, seed, cache="off").content
        (cached, clip), (fresh, fresh_clip) = clips.items()
        wait_until_cached(client, cached, clip)
        with fault(site, end):
            quiet_s = timed(client, fresh, fresh_clip, "miss", cache="off")
            took_s = timed(client, cached, clip, "miss")
            assert took_s < READS * READ_TIMEOUT_S + 3 * quiet_s + 5, "it waits for the store, and for longer than set"
            assert compose(client, fresh, "/v1/music/stream").content == fresh_clip
            until = time.monotonic() + WAIT_TIMEOUT_S
            num_calls = -1
            while num_calls != site.proxy.num_calls:
                assert time.monotonic() < until, "every request goes on asking a store that is known to be down"
                num_calls = site.proxy.num_calls
                timed(client, cached, clip, "miss", "joined")
            site.frontend.tells(*counted)
        for seed in clips:
            wait_until_cached(client, seed, clips[seed])


def test_a_full_bucket_is_read_and_takes_clips_again_when_there_is_room(site: Site) -> None:
    quota = ("--quota-scope=bucket", f"--bucket={site.bucket}")
    with site.frontend.client() as client, contextlib.ExitStack() as end:
        cached, fresh = next(site.seeds), next(site.seeds)
        clip, fresh_clip = (compose(client, seed, cache="off").content for seed in (cached, fresh))
        wait_until_cached(client, cached, clip)
        site.s3.admin("quota", "set", *quota, "--max-objects=0")
        end.callback(site.s3.admin, "quota", "disable", *quota)
        site.s3.admin("quota", "enable", *quota)
        for _ in range(3):
            timed(client, fresh, fresh_clip, "miss", "joined")
            timed(client, cached, clip, "hit")
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
        timed(client, seed, clip, "miss")
        wait_until_cached(client, seed, clip)
    site.frontend.tells("broken entry")
    log = site.frontend.log()
    assert all(secret not in log for secret in (SECRET_KEY, ACCESS_KEY))


def cached_objects(s3: Any, bucket: str) -> set[str]:
    return {each["Key"] for each in s3.list_objects_v2(Bucket=bucket, Prefix="musicgen/").get("Contents", ())}
