"""The folder a training works in, and goes on from.

    FOLDER/recipe.json   what the training was told
           state/N/      everything at step N that going on needs: weights, optimiser, schedule, random state
           log.jsonl     a line for every few steps, and now and then one of figures

A kill at any moment leaves a whole state, or none. What goes on from it goes on as if nothing had happened: the log is
cut back to the state's step.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from accelerate import Accelerator
from pydantic import BaseModel

LOG = "log.jsonl"
RECIPE = "recipe.json"
STATE = "state"


class RunFolder:
    """path: new, or begun before with the same recipe. Raises ValueError where it was another one."""

    def __init__(self, path: Path, recipe: BaseModel) -> None:
        self.path = path
        self._states = path / STATE
        _settle(path, recipe)

    @property
    def log_path(self) -> Path:
        return self.path / LOG

    def log(self, step: int, line: dict[str, object]) -> None:
        """To be called by one process."""
        with self.log_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **line}) + "\n")

    def save(self, accelerator: Accelerator, step: int) -> None:
        """Writes the state, and then removes the one before. To be called by every process."""
        unfinished = self._states / "unfinished"
        if accelerator.is_main_process:
            shutil.rmtree(unfinished, ignore_errors=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(unfinished))
        accelerator.wait_for_everyone()
        if not accelerator.is_main_process:
            return
        before = self._steps()
        if step in before:
            shutil.rmtree(unfinished)
            return
        unfinished.rename(self._states / str(step))
        for old in before:
            shutil.rmtree(self._states / str(old))

    def resume(self, accelerator: Accelerator) -> int:
        """Loads the last state, if there is one, and returns its step; 0 for a run that begins."""
        steps = self._steps()
        step = max(steps, default=0)
        if steps:
            accelerator.load_state(str(self._states / str(step)))
        if accelerator.is_main_process:
            self._cut_log(step)
        accelerator.wait_for_everyone()
        return step

    @property
    def has_begun(self) -> bool:
        """Whether there is a state to go on from."""
        return bool(self._steps())

    def replace(self, name: str, write: Callable[[Path], None]) -> None:
        """Puts a folder there that `write` fills: the old one stays until the new one is whole."""
        unfinished = self.path / f"{name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        write(unfinished)
        shutil.rmtree(self.path / name, ignore_errors=True)
        unfinished.rename(self.path / name)

    def _steps(self) -> list[int]:
        return [int(path.name) for path in self._states.glob("*") if path.name.isdigit()]

    def _cut_log(self, last_step: int) -> None:
        if not self.has_begun:
            self.log_path.unlink(missing_ok=True)
            return
        if not self.log_path.exists():
            return
        lines = [line for line in self.log_path.read_text(encoding="utf-8").splitlines() if _is_of(line, last_step)]
        _write_whole(self.log_path, "".join(line + "\n" for line in lines))


def _settle(folder: Path, recipe: BaseModel) -> None:
    """Writes the recipe into a new folder, and compares it with that of an old one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RECIPE
    if not path.exists():
        _write_whole(path, recipe.model_dump_json() + "\n")
    there = type(recipe).model_validate_json(path.read_text(encoding="utf-8"))
    if there != recipe:
        raise ValueError(f"{folder} was begun with {there}, not with {recipe}: choose another folder")


def _is_of(line: str, last_step: int) -> bool:
    """Whether a line of the log is whole, and of a step up to this."""
    try:
        return bool(json.loads(line)["step"] <= last_step)
    except json.JSONDecodeError:
        return False


def _write_whole(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
