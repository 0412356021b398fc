"""Real faults of the machine under the leases: a disk without room, a process without file handles."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.records.lease import Held, Taken
from serve_app.records.leases import Leases
from serve_app.records.opening import open_leases
from serve_app.records.settings import RecordsSettings
from tests.serve_app.cache.disks import filled, mounted, unmount


def opened(folder: Path) -> Leases:
    return open_leases(RecordsSettings.model_validate({"url": f"sqlite:///{folder}/records.sqlite"}))


def test_on_a_disk_without_room_there_is_no_telling_and_what_is_held_is_known_and_given_back(tmp_path: Path) -> None:
    if not mounted(tmp_path):
        pytest.skip("needs a disk to fill, which root may mount: run the tests as root")

    async def scenario() -> None:
        leases = opened(tmp_path)
        held = await leases.take("before")
        assert isinstance(held, Held)
        with filled(tmp_path):
            number = 0
            while await leases.take(f"{number:0200}") is not None:
                number += 1
            assert leases.faults.counts == {"lease take full": 1}
            assert isinstance(await leases.peek("before"), Taken)
        assert isinstance(await leases.take("after"), Held)
        assert await leases.renew(held.lease)
        await leases.close()

    try:
        asyncio.run(scenario())
    finally:
        unmount(tmp_path)


WITHOUT_HANDLES = """
import asyncio, resource, sys
from pathlib import Path
from serve_app.records.lease import Held
from tests.serve_app.records.test_lease_faults import opened

async def main():
    leases = opened(Path(sys.argv[1]))
    await asyncio.to_thread(int)  # a thread has to be there already
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    assert await leases.take("codes") is None
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert leases.faults.counts == {"lease take unreachable": 1}
    assert isinstance(await leases.take("codes"), Held)
    await leases.close()

asyncio.run(main())
"""


def test_without_file_handles_there_is_no_telling_and_afterwards_there_is(tmp_path: Path) -> None:
    # In a process of its own, for the limit holds for all of a process.
    command = [sys.executable, "-c", WITHOUT_HANDLES, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
