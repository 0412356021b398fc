from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from pydantic import BaseModel

from etude.training.run_folder import LOG, RunFolder


class Told(BaseModel):
    steps: int


class Counter:
    """Something that has a state."""

    def __init__(self) -> None:
        self.count = 0

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.count = state["count"]


@pytest.fixture
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run", Told(steps=3))


def test_a_folder_of_another_recipe_is_refused(folder: RunFolder) -> None:
    RunFolder(folder.path, Told(steps=3))
    with pytest.raises(ValueError, match="was begun with steps=3, not with steps=4: choose another folder"):
        RunFolder(folder.path, Told(steps=4))


def test_a_state_and_the_draws_that_follow_come_back(folder: RunFolder, accelerator: Accelerator) -> None:
    counter = Counter()
    accelerator.register_for_checkpointing(counter)
    assert folder.resume(accelerator) == 0
    assert not folder.has_begun
    counter.count = 7
    folder.save(accelerator, 2)
    following = torch.rand(3)
    counter.count = 8
    assert folder.resume(accelerator) == 2
    assert counter.count == 7
    assert torch.equal(torch.rand(3), following)


def test_a_kill_while_saving_leaves_the_state_before(
    folder: RunFolder, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.save(accelerator, 0)

    def die(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(Path, "rename", die)
        with pytest.raises(KeyboardInterrupt):
            folder.save(accelerator, 1)
    assert folder.resume(accelerator) == 0
    folder.save(accelerator, 1)
    assert [path.name for path in (folder.path / "state").iterdir()] == ["1"]


def test_the_log_is_cut_back_to_the_state(folder: RunFolder, accelerator: Accelerator) -> None:
    folder.log(1, {"loss": 3.0})
    folder.log(2, {"loss": 2.0})
    folder.save(accelerator, 2)
    folder.log(3, {"loss": 1.0})
    with (folder.path / LOG).open("a") as file:
        file.write('{"step": 2, "lo')
    folder.resume(accelerator)
    lines = [json.loads(line) for line in (folder.path / LOG).read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}]


def test_a_log_without_a_state_is_of_a_run_that_never_began(folder: RunFolder, accelerator: Accelerator) -> None:
    folder.log(0, {"loss": 3.0})
    assert folder.resume(accelerator) == 0
    assert not folder.log_path.exists()


def test_a_folder_that_is_replaced_is_the_old_one_or_the_new_one(folder: RunFolder) -> None:
    def write(text: str) -> None:
        folder.replace("made", lambda unfinished: (unfinished / "file").write_text(text) and None)

    def fail(unfinished: Path) -> None:
        (unfinished / "half").touch()
        raise KeyboardInterrupt

    write("old")
    with pytest.raises(KeyboardInterrupt):
        folder.replace("made", fail)
    assert (folder.path / "made" / "file").read_text() == "old"
    write("new")
    assert [path.read_text() for path in (folder.path / "made").iterdir()] == ["new"]
