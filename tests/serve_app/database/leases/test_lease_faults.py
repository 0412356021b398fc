"""Real faults of the machine under the leases: a disk without room, a process without file handles."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.database.engines import open_leases
from serve_app.database.lease_table import HeldLease, TakenLease
from serve_app.database.leases import Leases
from serve_app.settings.storage import DatabaseSettings
from tests.serve_app.stores.disks import filled, mounted, unmount


def opened(folder: Path) -> Leases:
    return open_leases(DatabaseSettings.model_validate({"url": f"sqlite:///{folder}/records.sqlite"}))


def test_on_a_disk_without_room_there_is_no_telling_and_what_is_held_is_known_and_given_back(tmp_path: Path) -> None:
    if not mounted(tmp_path):
        pytest.skip("a disk to be filled has to be mounted; run the tests as root")

    async def scenario() -> None:
        leases = opened(tmp_path)
        held = await leases.take("before")
        assert isinstance(held, HeldLease)
        with filled(tmp_path):
            number = 0
            while await leases.take(f"{number:0200}") is not None:
                number += 1
            assert leases.faults.counts == {"lease take full": 1}
            assert isinstance(await leases.peek("before"), TakenLease)
        assert isinstance(await leases.take("after"), HeldLease)
        assert await leases.renew(held.lease)
        await leases.close()

    try:
        asyncio.run(scenario())
    finally:
        unmount(tmp_path)


WITHOUT_HANDLES = """
import asyncio, resource, sys
from pathlib import Path
from serve_app.database.lease_table import HeldLease
from tests.serve_app.database.leases.test_lease_faults import opened

async def main():
    leases = opened(Path(sys.argv[1]))
    await asyncio.to_thread(int)  # a thread has to be there already
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    assert await leases.take("codes") is None
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert leases.faults.counts == {"lease take unreachable": 1}
    assert isinstance(await leases.take("codes"), HeldLease)
    await leases.close()

asyncio.run(main())
"""


def test_without_file_handles_there_is_no_telling_and_afterwards_there_is(tmp_path: Path) -> None:
    # In a process of its own, for the limit holds for all of a process.
    command = [sys.executable, "-c", WITHOUT_HANDLES, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
