"""Weights on disk, in files that are memory-mapped when a step needs them.

One folder may serve several models and several replicas on a machine. Each set of weights has a folder of its own in
it, named after all that its bytes depend on: it appears there whole or not at all, is shared by all replicas that need
the same, and is removed when the next one is made while no replica uses it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from deployments.checkpoints.config import on_one_line
from deployments.language_model.placement import PlacementError, in_words

_INDEX = "index.json"
_LOCK = ".lock"
_OURS = re.compile(r"(weights-[0-9a-f]{16}|unfinished-weights-\w+)")
_FORMAT = 1


class OffloadFolder:
    """Blocks of tensors on disk, protected from being removed until `close`. Made by `open`."""

    def __init__(self, path: Path, blocks: Mapping[str, list[str]], lock: IO[str]) -> None:
        self.path = path
        self._blocks = blocks
        self._lock = lock

    @classmethod
    def open(
        cls, root: Path, identity: str, num_bytes: int, blocks: Iterator[tuple[str, Mapping[str, Tensor]]]
    ) -> OffloadFolder:
        """The folder of this identity below `root`, written unless it is there.

        Waits while another process writes below `root`.

        Args:
            identity: everything the tensors depend on.
            num_bytes: of all of them together.
            blocks: (name, its tensors), taken one at a time and only if they have to be written.

        Raises:
            PlacementError: When it can't be written there.
        """
        path = root / f"weights-{hashlib.sha256(f'{_FORMAT} {identity}'.encode()).hexdigest()[:16]}"
        try:
            root.mkdir(parents=True, exist_ok=True)
            with _locked(root / _LOCK):
                _remove_unused(root, but=path)
                if not _is_whole(path):
                    if path.exists():
                        shutil.rmtree(path)
                    _check_room(root, num_bytes)
                    _write(path, blocks)
                lock = (path / _LOCK).open("w")
                fcntl.flock(lock, fcntl.LOCK_SH)
        except (OSError, SafetensorError) as error:
            raise PlacementError(f"weights can't be offloaded to {root}: {on_one_line(error)}") from error
        index = json.loads((path / _INDEX).read_text(encoding="utf-8"))
        return cls(path, {name: entry["tensors"] for name, entry in index.items()}, lock)

    def accelerate_index(self) -> dict[str, dict[str, str]]:
        """Where each tensor is, as accelerate's `offload_index` says it."""
        return {
            tensor: {"safetensors_file": str(self.path / f"{block}.safetensors"), "weight_name": tensor}
            for block, tensors in self._blocks.items()
            for tensor in tensors
        }

    def close(self) -> None:
        """Allows the folder to be removed when the next one is made; until then other replicas may use it."""
        self._lock.close()


def _write(path: Path, blocks: Iterator[tuple[str, Mapping[str, Tensor]]]) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-weights-", dir=path.parent))
    try:
        index = {}
        for name, tensors in blocks:
            file = unfinished / f"{name}.safetensors"
            save_file(dict(tensors), file)
            _flush(file)
            index[name] = {"tensors": list(tensors), "size_bytes": file.stat().st_size}
            del tensors  # before the next block is read
        (unfinished / _LOCK).touch()
        (unfinished / _INDEX).write_text(json.dumps(index), encoding="utf-8")
        _flush(unfinished / _INDEX)
        unfinished.rename(path)
    except BaseException:
        shutil.rmtree(unfinished)
        raise


def _is_whole(path: Path) -> bool:
    try:
        index = json.loads((path / _INDEX).read_text(encoding="utf-8"))
        return all((path / f"{name}.safetensors").stat().st_size == each["size_bytes"] for name, each in index.items())
    except (OSError, ValueError):
        return False


def _remove_unused(root: Path, but: Path) -> None:
    """Removes weights that no replica uses, and unfinished ones whose writer has ended.

    Only the holder of the root's lock writes, removes, or begins to use weights.
    """
    for path in root.iterdir():
        if path == but or not _OURS.fullmatch(path.name):
            continue
        with suppress(FileNotFoundError, BlockingIOError):
            if (path / _LOCK).exists():
                with (path / _LOCK).open("w") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path)


def _check_room(root: Path, num_bytes: int) -> None:
    free_bytes = shutil.disk_usage(root).free
    if num_bytes > free_bytes:
        raise PlacementError(
            f"{in_words(num_bytes)} of weights are to be offloaded to {root}, where {in_words(free_bytes)} are free"
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _flush(path: Path) -> None:
    """Writes to the disk itself: after a loss of power no name may be left whose file is not."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
