"""A real clock that is moved while the program runs: what was kept is found, and a lease that is held stays held."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.s3_server import ACCESS_KEY, SECRET_KEY, S3Server

INSTALL = "apt-get install --no-install-recommends faketime"

# The hour is in a file, which libfaketime reads each time that the clock is.
PROGRAM = """
import asyncio, sys, time
from pathlib import Path
from serve_app.cache.keys import generation_key
from serve_app.stores.opening import blocking_store, open_cache
from serve_app.settings.storage import CacheSettings
from serve_app.stores.store import StoreDenied
from serve_app.database.lease_table import HeldLease, TakenLease
from serve_app.database.engines import open_leases
from serve_app.settings.storage import DatabaseSettings
from tests.serve_app.cache.cached import REQUEST, codes_of, key, packed

folder, bucket, endpoint_url = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
began_s = time.time()

def move(hours):
    (folder / "hour").write_text(f"{hours:+d}h")
    assert abs(time.time() - began_s - 3600 * hours) < 1000, "the clock was not moved"

async def main():
    cache = open_cache(CacheSettings(store={"kind": "folder", "folder": f"{folder}/cache"}, memory_size=0))
    leases = open_leases(DatabaseSettings(url=f"sqlite:///{folder}/records.sqlite"))
    other = open_leases(DatabaseSettings(url=f"sqlite:///{folder}/records.sqlite"))
    held = await leases.take("codes")
    assert isinstance(held, HeldLease)
    await cache.keep_codes(generation_key(REQUEST, 7), codes_of(REQUEST, 7, 50), REQUEST.model.numerics)
    s3 = blocking_store(CacheSettings(store={"kind": "s3", "bucket": bucket, "endpoint_url": endpoint_url}))
    s3.put(key("clock"), packed(b"x"))
    for hours in (1, -1, 0):
        move(hours)
        found = await cache.look_up(REQUEST, "use", 7, num_frames=50)
        assert found.decision.outcome == "hit"
        assert isinstance(await other.take("codes"), TakenLease)
        assert await leases.renew(held.lease)
        try:
            assert s3.get(key("clock")) == packed(b"x")
            print(hours, "read")
        except StoreDenied as error:
            print(hours, error)
    for each in (cache, leases, other):
        await each.close()
    s3.close()

move(0)
asyncio.run(main())
"""


def test_a_clock_moved_by_an_hour_loses_nothing_kept_and_no_lease_and_s3_says_no_until_it_is_right_again(
    s3: S3Server, bucket: str, tmp_path: Path
) -> None:
    if shutil.which("faketime") is None:
        pytest.skip(f"not installed: faketime; `{INSTALL}` brings it")
    root = Path(__file__).parents[3]
    (tmp_path / "hour").write_text("+0h")
    # Setting the clock moves no monotonic one, and what is said of files is what was written.
    fakes = {"FAKETIME_TIMESTAMP_FILE": str(tmp_path / "hour"), "FAKETIME_NO_CACHE": "1", "NO_FAKE_STAT": "1"}
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_DEFAULT_REGION": "us-east-1"}
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    environment = {
        **os.environ, **keys, **fakes, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "LD_PRELOAD": str(library),
        "PYTHONPATH": str(root),
    }  # fmt: skip
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), bucket, s3.url]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    refused = "S3 get: RequestTimeTooSkewed (403)"
    assert done.stdout.splitlines() == [f"1 {refused}", f"-1 {refused}", "0 read"]
