"""A folder never exceeds its limit, and evicts the least recently used files first."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from serve_app.stores.folder import LruFolder
from serve_app.stores.store import StoreDenied, StoreError, StoreFull, StoreTimeout
from tests.serve_app.cache.cached import Clock, key

BLOCK = 4096
LIMIT_BLOCKS = 10
LIMIT = LIMIT_BLOCKS * BLOCK
NAMES = [key(number).digest for number in range(8)]

names = st.sampled_from(NAMES)


def on_disk(files: LruFolder) -> dict[str, int]:
    """Blocks by name: read directly, since the folder would count it as a use."""
    found = (files.folder / "kept").glob("*/*")
    return {path.parent.name + path.name: -(-path.stat().st_size // BLOCK) for path in found}


class LruFolderMachine(RuleBasedStateMachine):
    """A folder against a list of (name, data) in order of use; either its clock jumps, or it is opened anew."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="folder-"))
        self.clock = Clock()
        self.used: dict[str, bytes] = {}
        self.opened_folders = [self.opened()]
        self.turn = 0

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def opened(self) -> LruFolder:
        return LruFolder(self.folder, LIMIT, clock=self.clock)

    def files(self) -> LruFolder:
        """One of those that share the folder, in turn."""
        self.clock.now_s += 0.001
        self.turn += 1
        return self.opened_folders[self.turn % len(self.opened_folders)]

    @initialize(jumps=st.booleans())
    def choose(self, jumps: bool) -> None:
        self.jumps = jumps

    @rule(name=names, blocks=st.sampled_from([1, 1, 2, 2, 3, LIMIT_BLOCKS]), fill=st.integers(0, 255))
    def write(self, name: str, blocks: int, fill: int) -> None:
        data = bytes([fill]) * (blocks * BLOCK - fill)
        before = on_disk(self.opened_folders[0])
        self.files().write(name, data[:100], data[100:])
        after = on_disk(self.opened_folders[0])
        self.used.pop(name, None)
        self.used[name] = data
        gone = self.used.keys() - after.keys()
        left = self.used.keys() & after.keys()
        order = list(self.used)
        assert name in left
        assert not gone or max(map(order.index, gone)) < min(map(order.index, left)), "another than the oldest went"
        others = sum(size for other, size in before.items() if other != name)
        # The one replaced may be counted twice for the moment that both are there.
        assert not gone or others + before.get(name, 0) + blocks > LIMIT_BLOCKS, "one went, and there was room"
        for each in gone:
            del self.used[each]

    @rule(name=names)
    def read(self, name: str) -> None:
        assert self.files().read(name) == self.used.get(name)
        if name in self.used:
            self.used[name] = self.used.pop(name)

    @rule(name=names)
    def delete(self, name: str) -> None:
        self.files().delete(name)
        self.used.pop(name, None)

    @rule(hours=st.sampled_from([-1, 1]))
    def move_the_clock(self, hours: int) -> None:
        if self.jumps:
            self.clock.now_s += hours * 3600

    @rule(how_many=st.integers(1, 3))
    def start_anew(self, how_many: int) -> None:
        if not self.jumps:
            self.opened_folders = [self.opened() for _ in range(how_many)]

    @invariant()
    def holds_what_it_may(self) -> None:
        assert on_disk(self.opened_folders[0]).keys() == self.used.keys()
        if (self.folder / "ledger").exists():
            self.opened_folders[0].check_integrity()


TestLruFolder = LruFolderMachine.TestCase
TestLruFolder.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("hours", [-1, 0, 1])
def test_what_was_read_last_stays_though_the_clock_is_moved_in_between(hours: int, tmp_path: Path) -> None:
    clock = Clock()
    files = LruFolder(tmp_path, LIMIT, clock=clock)
    for name in NAMES[:5]:
        files.write(name, bytes(2 * BLOCK))
    clock.now_s += hours * 3600
    # Also after a restart: what the others wrote tells how far their clock was.
    for reader in (files, LruFolder(tmp_path, LIMIT, clock=clock)):
        reader.write(NAMES[5], b"")
        assert reader.read(NAMES[1])
        assert reader.read(NAMES[2])
        for name in NAMES[6:]:
            reader.write(name, b"")
        assert on_disk(reader).keys() == {*NAMES[1:3], NAMES[4], *NAMES[5:]}


def test_files_grown_old_go_and_an_hour_more_or_less_takes_none_before_its_time(tmp_path: Path) -> None:
    clock = Clock()
    LruFolder(tmp_path, LIMIT, max_age_s=86_400, clock=clock).write(NAMES[0], b"old")
    for hours, left in ((1, 2), (-2, 3), (24, 4), (3, 2)):
        clock.now_s += hours * 3600
        files = LruFolder(tmp_path, LIMIT, max_age_s=86_400, clock=clock)
        files.write(key(hours).digest, b"new")
        assert len(on_disk(files)) == left


def test_without_an_age_nothing_grows_old(tmp_path: Path) -> None:
    clock = Clock()
    LruFolder(tmp_path, LIMIT, clock=clock).write(NAMES[0], b"old")
    clock.now_s += 10**9
    files = LruFolder(tmp_path, LIMIT, clock=clock)
    files.write(NAMES[1], b"new")
    assert files.read(NAMES[0]) == b"old"


def test_a_file_larger_than_the_limit_is_refused_and_drives_nothing_out(tmp_path: Path) -> None:
    files = LruFolder(tmp_path, LIMIT)
    files.write(NAMES[0], b"small")
    with pytest.raises(StoreFull, match=f"an entry of {LIMIT + BLOCK} bytes does not fit into .*: {LIMIT} bytes"):
        files.write(NAMES[1], bytes(LIMIT + 1))
    assert on_disk(files) == {NAMES[0]: 1}


WRITER = """
import sys
from pathlib import Path
from serve_app.stores.folder import LruFolder
folder = LruFolder(Path(sys.argv[1]), int(sys.argv[2]))
for number in range(10**9 if sys.argv[3] == "for ever" else int(sys.argv[3])):
    folder.write(f"{number % 50:064x}", bytes([number % 256]) * 5000)
    if number == 0: print("writing", flush=True)
"""


def start_writer(folder: Path, limit: int, how_many: str) -> subprocess.Popen[bytes]:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", WRITER, str(folder), str(limit), how_many]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.PIPE)


def test_processes_that_write_at_once_share_one_limit(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, LIMIT, "200") for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    for writer in writers:
        assert writer.stdout
        writer.stdout.close()
    files = LruFolder(tmp_path, LIMIT)
    files.check_integrity()
    for name in on_disk(files):
        data = files.read(name)
        assert data
        assert data == data[:1] * 5000


def test_a_writer_killed_at_any_moment_leaves_whole_files_and_one_stopped_holds_nobody(tmp_path: Path) -> None:
    writer = start_writer(tmp_path, LIMIT, "for ever")
    try:
        assert writer.stdout
        assert writer.stdout.readline() == b"writing\n"
        writer.send_signal(signal.SIGSTOP)
        files = LruFolder(tmp_path, LIMIT, lock_timeout_s=0.05)
        # It may have been stopped in its turn or out of it; reading needs no turn.
        with contextlib.suppress(StoreTimeout):
            files.write(NAMES[0], b"ours")
        assert files.read("ff" * 32) is None
    finally:
        writer.kill()
        writer.wait()
        assert writer.stdout
        writer.stdout.close()
    files.write(NAMES[0], b"ours")
    assert files.read(NAMES[0]) == b"ours"
    assert all(len(files.read(name) or b"") == 5000 for name in on_disk(files) if name != NAMES[0])


def test_whoever_waits_for_a_turn_in_vain_is_told_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    files = LruFolder(tmp_path, LIMIT, lock_timeout_s=0.02)
    files.write(NAMES[0], b"first")
    with files._lock.held(), pytest.raises(StoreTimeout, match=r"another writer has held .*ledger for 0.02 s"):
        files.write(NAMES[1], b"second")
    files.check_integrity()
    assert on_disk(files).keys() == {NAMES[0]}
    files.write(NAMES[1], b"second")
    assert files.read(NAMES[1]) == b"second"


def test_what_a_dead_writer_left_half_written_is_seen_by_nobody_and_gone_with_the_next_write(tmp_path: Path) -> None:
    files = LruFolder(tmp_path, LIMIT)
    files.write(NAMES[0], b"whole")
    (tmp_path / "new").write_bytes(b"half, and longer than what comes next")
    assert on_disk(files).keys() == {NAMES[0]}
    LruFolder(tmp_path, LIMIT).write(NAMES[1], b"x")
    assert files.read(NAMES[1]) == b"x"
    files.check_integrity()


def test_a_folder_removed_under_way_is_made_again(tmp_path: Path) -> None:
    files = LruFolder(tmp_path / "files", LIMIT)
    files.write(NAMES[0], b"before")
    shutil.rmtree(tmp_path / "files")
    assert files.read(NAMES[0]) is None
    files.write(NAMES[0], b"after")
    assert files.read(NAMES[0]) == b"after"


def test_a_ledger_that_is_cut_is_counted_anew(tmp_path: Path) -> None:
    files = LruFolder(tmp_path, LIMIT)
    files.write(NAMES[0], b"whole")
    (tmp_path / "ledger").write_bytes(b"abc")
    files.write(NAMES[1], b"whole")
    files.check_integrity()


def test_a_file_in_the_folders_place_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "files").write_bytes(b"a file")
    files = LruFolder(tmp_path / "files", LIMIT)
    for ask in (lambda: files.write(NAMES[0], b""), lambda: files.read(NAMES[0])):
        with pytest.raises(StoreError, match=r"files: (File exists|Not a directory)"):
            ask()


def test_a_folder_that_may_not_be_written_is_told_as_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write anywhere, so the system's answer is the one thing here that is made up.
    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(StoreDenied, match=f"{tmp_path}: Permission denied"):
        LruFolder(tmp_path, LIMIT).write(NAMES[0], b"")
