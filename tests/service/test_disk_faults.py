"""Whatever happens to the folder, clients get their clips, byte for byte; cached clips are not lost, and not wrong."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from serve_app.cache.entry import VERSION, Packed, pack, unpack
from serve_app.cache.keys import Key
from serve_app.stores.folder import FolderStore
from tests.serve_app.cache.test_entry import as_version
from tests.serve_app.stores.disks import filled, mounted, unmount
from tests.service.conftest import RunningService, processes
from tests.service.support.frontends import WAIT_TIMEOUT_S, Frontend, compose, run_frontend, timed, wait_until_cached

DISK_BYTES = 4 * 2**20


@dataclass
class Site:
    """A frontend that caches everything in a folder and nothing in memory. disks: of the folder, and of the leases.

    seeds: that no test has had.
    """

    run_frontend: Frontend
    disks: tuple[Path, Path]
    seeds: Iterator[int]

    def entries(self) -> dict[Key, Path]:
        """The files of codes and sound."""
        paths = [path for kind in ("codes", "sound") for path in (self.disks[0] / "cache" / kind / "kept").glob("*/*")]
        return {Key(path.parents[2].name, path.parent.name + path.name): path for path in paths}

    def check_integrity(self) -> None:
        FolderStore(self.disks[0] / "cache", 2 * 10**9, 15 * 10**8).check_integrity()


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("disk-site")
    disks = folder / "cache-disk", folder / "records-disk"
    with contextlib.ExitStack() as stack:
        for disk in disks:
            disk.mkdir()
            if not mounted(disk, DISK_BYTES):
                pytest.skip("a disk to be filled has to be mounted; run the tests as root")
            stack.callback(unmount, disk)
        cache = {"store": {"kind": "folder", "folder": f"{disks[0]}/cache"}, "memory_size": 0}
        records = {"url": f"sqlite:///{disks[1]}/records.sqlite"}
        running = stack.enter_context(run_frontend(service, "disk", folder / "logs", cache=cache, records=records))
        yield Site(running, disks, itertools.count())


Fault = Callable[[Site], AbstractContextManager[None]]


@contextlib.contextmanager
def full(site: Site) -> Iterator[None]:
    with filled(*site.disks):
        yield


@contextlib.contextmanager
def read_only(site: Site) -> Iterator[None]:
    remount(site.disks[0], "ro")
    try:
        yield
    finally:
        remount(site.disks[0], "rw")


def remount(disk: Path, how: str) -> None:
    until = time.monotonic() + WAIT_TIMEOUT_S
    while subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], capture_output=True, check=False).returncode:
        assert time.monotonic() < until, "somebody is always writing"
        time.sleep(0.01)


@contextlib.contextmanager
def without_handles(site: Site) -> Iterator[None]:
    before = {}
    for process in [each for name in ("ingress", "pipeline") for each in processes(site.frontend.name, name)]:
        before[process.pid] = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (0, before[process.pid][1]))
    try:
        yield
    finally:
        for pid, limits in before.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize(
    ("fault", "counted", "outcome"),
    [
        (full, "write full", "hit"),
        (read_only, "write denied", "hit"),
        (without_handles, "read unreachable", "miss"),
    ],
)
def test_while_the_disk_is_at_fault_clips_are_made_and_nothing_is_lost_and_afterwards_they_are_cached(
    site: Site, fault: Fault, counted: str, outcome: str
) -> None:
    with site.frontend.client() as client:
        cached, fresh = next(site.seeds), next(site.seeds)
        clip, fresh_clip = (compose(client, seed, cache="off").content for seed in (cached, fresh))
        wait_until_cached(client, cached, clip)
        with fault(site):
            for _ in range(4):
                timed(client, fresh, fresh_clip, "miss", "joined")
                timed(client, cached, clip, outcome, "joined")
            site.frontend.tells(counted)
        wait_until_cached(client, cached, clip)
        wait_until_cached(client, fresh, fresh_clip)
    site.check_integrity()


def test_truncated_entries_are_logged_and_made_again_the_same(site: Site) -> None:
    with site.frontend.client() as client:
        seed, clip, entries = cached_clip(site, client)
        for path in entries.values():
            os.truncate(path, path.stat().st_size // 2)
        timed(client, seed, clip, "miss")
        wait_until_cached(client, seed, clip)
        for key, path in entries.items():
            unpack(key, Packed.split(path.read_bytes()))
    site.frontend.tells("broken entry")


def test_entries_of_a_newer_program_are_logged_and_left_as_they_are(site: Site) -> None:
    with site.frontend.client() as client:
        seed, clip, entries = cached_clip(site, client)
        newer = {path: as_version(Packed.split(path.read_bytes()), VERSION + 1) for path in entries.values()}
        for path, packed in newer.items():
            path.write_bytes(packed.head + packed.body)
        for _ in range(3):
            timed(client, seed, clip, "miss", "joined")
        assert {path: Packed.split(path.read_bytes()) for path in newer} == newer
    site.frontend.tells("newer entry")


@pytest.mark.parametrize("hours", [-1, 1])
def test_entries_cached_by_a_clock_an_hour_off_are_found(site: Site, hours: int) -> None:
    with site.frontend.client() as client:
        seed, clip, entries = cached_clip(site, client)
        for key, path in entries.items():
            entry = unpack(key, Packed.split(path.read_bytes()))
            then_s = entry.created_s + 3600 * hours
            packed = pack(key, replace(entry, created_s=then_s))
            path.write_bytes(packed.head + packed.body)
            os.utime(path, (then_s, then_s))
        cached_clip(site, client)  # so there has been a writer, and it has not cleared them away
        age_s = int(compose(client, seed).headers["Age"])
        assert age_s == 0 if hours > 0 else 3600 <= age_s < 3600 + WAIT_TIMEOUT_S
        timed(client, seed, clip, "hit")
        assert all(path.stat().st_mtime == pytest.approx(then_s, abs=WAIT_TIMEOUT_S) for path in entries.values())


def cached_clip(site: Site, client: httpx.Client) -> tuple[int, bytes, dict[Key, Path]]:
    """Another seed, its clip, and the entries of its codes and its sound."""
    seed, before = next(site.seeds), site.entries()
    clip = compose(client, seed, cache="off").content
    until = time.monotonic() + WAIT_TIMEOUT_S
    while len(new := site.entries().keys() - before.keys()) < 2:
        assert time.monotonic() < until, "it is not cached"
        timed(client, seed, clip, "miss", "joined", "hit")
    entries = site.entries()
    return seed, clip, {key: entries[key] for key in new}
