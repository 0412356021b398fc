"""What the former release (0.1 at commit 207b18e) left on a disk goes on working: database, cache, deploy files.

`tests/data/former_release.tar.gz` was made by that release: a clip of 2 s and a job of two variations of 1 s, with the
embedded model, and the service then ended by Ctrl-C. `records.sqlite-wal` is as that left it.
"""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from serve_app.cache.entry import CachedCodes, CachedSound, unpack
from serve_app.cache.keys import Key
from serve_app.database.engines import open_database
from serve_app.database.job_table import JobTable
from serve_app.launcher.deployment import load_deploy_file
from serve_app.settings.storage import DatabaseSettings
from serve_app.stores.folder import FolderStore

ARCHIVE = Path(__file__).parent / "data" / "former_release.tar.gz"
JOB = "fa911b3199324e3188604b98110ce0d5"
# Of the WAV files that clients of that release got.
SOUNDS = {
    "9c100314157411deab3ea4d1d31785c20f0bfd2eaf31d091a3b24f922b523870": 2000,
    "420cfcd9078d629467e684176b569aa87aa36350d2c8ed5ffc62d8d95f9d0278": 1000,
}
CONFIGS = ("aws.yaml", "gpu.yaml", "local.yaml", "offloaded.yaml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def test_its_cache_is_read_to_the_byte(folder: Path) -> None:
    store = FolderStore(folder / "cache", 2**30, 2**29)
    sounds, num_codes = {}, 0
    for path in (folder / "cache").glob("*/kept/*/*"):
        kind = path.parents[2].name
        key = Key(kind, path.parent.name + path.name)  # type: ignore[arg-type]
        packed = store.get(key)
        assert packed is not None
        entry = unpack(key, packed)
        if isinstance(entry, CachedSound):
            sounds[hashlib.sha256(entry.sound).hexdigest()] = entry.duration_ms
        else:
            assert isinstance(entry, CachedCodes)
            assert entry.codes.shape[0] == 4
            num_codes += 1
    assert sounds == SOUNDS
    assert num_codes == 3
    store.check_integrity()


def test_its_jobs_are_found_and_can_be_fetched(folder: Path) -> None:
    database = open_database(DatabaseSettings(url=f"sqlite:///{folder}/records.sqlite"))
    try:
        table = JobTable(database)
        job = table.find("local", JOB)
        assert job is not None
        assert job.state == "succeeded"
        assert [variation.seed for variation in job.variations] == [5, 6]
        for number in range(2):
            made = table.made("local", JOB, number)
            assert made is not None
            assert made.codes.shape == (4, 50)
        assert table.is_known("local", "former-release-1")
        table.check_integrity()
    finally:
        database.close()


@pytest.mark.parametrize("name", CONFIGS)
def test_its_deploy_files_are_right_to_the_last_key(folder: Path, name: str) -> None:
    path = folder / "configs" / name
    path.write_text(path.read_text().replace("accepted_licenses: [] # [", "accepted_licenses: ["))
    load_deploy_file(path)
