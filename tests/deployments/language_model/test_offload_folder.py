"""The folder of offloaded weights: whole or absent, used again, and removed when nobody uses it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from deployments.language_model import offload_folder
from deployments.language_model.offload_folder import OffloadFolder
from deployments.language_model.placement import PlacementError

BLOCKS: dict[str, Mapping[str, Tensor]] = {
    "layers.0": {"layers.0.a.weight": torch.arange(6.0).view(2, 3), "layers.0.b.weight": torch.ones(2).bfloat16()},
    "heads": {"heads.weight": torch.full((3,), 7.0)},
}


def given_blocks() -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    yield from BLOCKS.items()


def not_again() -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    raise AssertionError("it was there already")
    yield


def opened(
    root: Path, identity: str = "one", blocks: Iterator[tuple[str, Mapping[str, Tensor]]] | None = None
) -> OffloadFolder:
    return OffloadFolder.open(root, identity, 100, given_blocks() if blocks is None else blocks)


def weights_in(root: Path) -> set[Path]:
    return {path for path in root.iterdir() if path.is_dir()}


def test_what_was_written_is_where_the_index_says(tmp_path: Path) -> None:
    folder = opened(tmp_path / "made" / "for it")
    index = folder.accelerate_index()
    expected = {name: tensor for tensors in BLOCKS.values() for name, tensor in tensors.items()}
    assert index.keys() == expected.keys()
    for name, tensor in expected.items():
        with safe_open(index[name]["safetensors_file"], framework="pt") as file:
            found = file.get_tensor(index[name]["weight_name"])
        assert found.dtype == tensor.dtype
        assert torch.equal(found, tensor)
    folder.close()


def test_the_same_weights_are_written_once(tmp_path: Path) -> None:
    first = opened(tmp_path)
    second = opened(tmp_path, blocks=not_again())
    assert first.path == second.path
    first.close()
    second.close()
    third = opened(tmp_path, blocks=not_again())
    third.close()


def test_other_weights_replace_those_that_nobody_uses(tmp_path: Path) -> None:
    used, unused = opened(tmp_path, "used"), opened(tmp_path, "unused")
    unused.close()
    new = opened(tmp_path, "new")
    assert weights_in(tmp_path) == {used.path, new.path}
    used.close()
    new.close()
    last = opened(tmp_path, "last")
    assert weights_in(tmp_path) == {last.path}
    last.close()


def test_weights_of_a_process_that_was_killed_are_nobodys(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys, torch; from pathlib import Path\n"
        "from deployments.language_model.offload_folder import OffloadFolder\n"
        "OffloadFolder.open(Path(sys.argv[1]), 'theirs', 1, iter([('a', {'a': torch.ones(1)})]))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    (theirs,) = weights_in(tmp_path)
    ours = opened(tmp_path)
    assert weights_in(tmp_path) == {ours.path} != {theirs}
    ours.close()


def test_a_writer_that_fails_leaves_nothing_and_the_next_one_writes(tmp_path: Path) -> None:
    def failing() -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        yield "layers.0", BLOCKS["layers.0"]
        raise RuntimeError("the checkpoint broke off")

    with pytest.raises(RuntimeError, match="broke off"):
        opened(tmp_path, blocks=failing())
    assert weights_in(tmp_path) == set()
    opened(tmp_path).close()


def test_what_a_killed_writer_left_goes(tmp_path: Path) -> None:
    (tmp_path / "unfinished-weights-abc123").mkdir()
    (tmp_path / "unfinished-weights-abc123" / "layers.0.safetensors").write_bytes(b"half")
    folder = opened(tmp_path)
    assert weights_in(tmp_path) == {folder.path}
    folder.close()


@pytest.mark.parametrize("harm", ["truncate", "delete", "index"])
def test_a_folder_that_was_harmed_is_written_again(harm: str, tmp_path: Path) -> None:
    folder = opened(tmp_path)
    folder.close()
    file = folder.path / "layers.0.safetensors"
    if harm == "truncate":
        file.write_bytes(file.read_bytes()[:-1])
    elif harm == "delete":
        file.unlink()
    else:
        (folder.path / "index.json").write_text("{")
    again = opened(tmp_path)
    with safe_open(file, framework="pt") as whole:
        assert torch.equal(whole.get_tensor("layers.0.a.weight"), BLOCKS["layers.0"]["layers.0.a.weight"])
    again.close()


def test_other_peoples_files_stay(tmp_path: Path) -> None:
    (tmp_path / "weights-of-my-own").mkdir()
    (tmp_path / "letter.txt").write_text("dear")
    opened(tmp_path, "one").close()
    opened(tmp_path, "two").close()
    assert (tmp_path / "weights-of-my-own").is_dir()
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_of_two_at_once_one_writes_and_the_other_waits_for_it(tmp_path: Path) -> None:
    writing, go_on, folders = threading.Event(), threading.Event(), []

    def slow() -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        writing.set()
        assert go_on.wait(60)
        yield from BLOCKS.items()

    first = threading.Thread(target=lambda: folders.append(opened(tmp_path, blocks=slow())))
    first.start()
    assert writing.wait(60)
    second = threading.Thread(target=lambda: folders.append(opened(tmp_path, blocks=not_again())))
    second.start()
    go_on.set()
    first.join()
    second.join()
    assert len({folder.path for folder in folders}) == 1
    assert len(folders) == 2
    for folder in folders:
        folder.close()


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PlacementError, match=rf"^weights can't be offloaded to {tmp_path}/file: .*exists"):
        opened(tmp_path / "file")
    monkeypatch.setattr(offload_folder.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 2 * 10**9}))
    with pytest.raises(PlacementError, match=r"3\.50 GB of weights are to be offloaded to .*, where 2\.00 GB are free"):
        OffloadFolder.open(tmp_path / "full", "one", 35 * 10**8, given_blocks())
    assert weights_in(tmp_path / "full") == set()
