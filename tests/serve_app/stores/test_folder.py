"""The folder store: codes are not driven out by sound, and a full disk is an error and no more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.stores.folder import FolderStore
from serve_app.stores.store import StoreFull
from tests.serve_app.cache.cached import key, packed
from tests.serve_app.stores.disks import small_disk

BLOCK = 4096


def test_a_full_disk_is_a_clear_error_that_costs_nothing_kept_and_passes(tmp_path: Path) -> None:
    with small_disk(tmp_path):
        store = FolderStore(tmp_path, 2**30, 2**29)
        store.put(key("small"), packed(b"small" * 1000))
        with pytest.raises(StoreFull, match=r"codes: (No space left on device|File too large)"):
            store.put(key("large"), packed(bytes(300_000)))
        with pytest.raises(StoreFull):
            store.put(key("small"), packed(bytes(300_000)))
        assert store.get(key("small")) == packed(b"small" * 1000)
        assert store.get(key("large")) is None
        store.check_integrity()
        store.put(key("another"), packed(bytes(100_000)))
        store.delete(key("another"))
        store.put(key("large"), packed(bytes(150_000)))
        store.check_integrity()


def test_sound_drives_out_sound_and_no_codes(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, 100 * BLOCK, 50 * BLOCK)
    store.put(key("codes"), packed(b"codes"))
    store.put(key("alias", "alias"), packed(b""))
    for number in range(30):
        store.put(key(number, "sound"), packed(bytes(9 * BLOCK)))
    assert store.get(key("codes")) == packed(b"codes")
    assert store.get(key("alias", "alias")) == packed(b"")
    assert store.get(key(29, "sound"))
    assert store.get(key(0, "sound")) is None
    store.check_integrity()
    for number in range(100):
        store.put(key(number), packed(bytes(3 * BLOCK)))
        store.put(key(number, "alias"), packed(b""))
    assert store.get(key(29, "sound"))
    store.check_integrity()
    assert sum(path.stat().st_blocks * 512 for path in tmp_path.rglob("*/kept/*/*")) <= 100 * BLOCK
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 100 * BLOCK


def test_nothing_is_written_before_the_first_entry_and_nothing_beside_the_folder(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "cache", 2**20, 2**19)
    assert store.get(key(1)) is None
    assert list(tmp_path.iterdir()) == []
    store.put(key(1), packed(b"x"))
    digest = key(1).digest
    assert (tmp_path / "cache" / "codes" / "kept" / digest[:2] / digest[2:]).is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"cache"}


WITHOUT_HANDLES = """
import resource, sys
from pathlib import Path
from serve_app.stores.folder import FolderStore
from serve_app.stores.store import StoreUnreachable
from tests.serve_app.cache.cached import key, packed

def said(ask, *arguments):
    try:
        ask(*arguments)
    except StoreUnreachable as error:
        return str(error)

store = FolderStore(Path(sys.argv[1]), 2**20, 2**19)
store.put(key(1), packed(b"x"))
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
told = said(store.get, key(1)), said(store.put, key(2), packed(b"x"))
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
assert all("Too many open files" in each for each in told), told
assert store.get(key(1)) == packed(b"x")
store.put(key(2), packed(b"x"))
store.check_integrity()
"""


def test_without_file_handles_it_is_an_error_and_afterwards_none(tmp_path: Path) -> None:
    # In a process of its own, for the limit holds for all of a process.
    root = str(Path(__file__).parents[3])
    command = [sys.executable, "-c", WITHOUT_HANDLES, str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
