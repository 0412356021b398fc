"""The loop that every training runs in: steps, a log, figures now and then, states to go on from."""

from __future__ import annotations

from typing import Protocol

from accelerate import Accelerator
from tqdm import tqdm

from etude.training.pace import Clock, Pace
from etude.training.run_folder import RunFolder


class Work(Protocol):
    """What is trained. Every process does all of it."""

    def begin(self) -> None:
        """Before the first step of a run that is not resumed."""

    def advance(self, step: int) -> dict[str, object]:
        """Takes step number `step`, counted from 0; returns its line of the log, "loss" in it."""
        ...

    def figures(self) -> dict[str, object]:
        """On held-out pieces, as a line of the log; empty where there are none."""
        ...

    def export(self) -> None:
        """Writes the weights as what they are for, beside the state."""


def run(work: Work, folder: RunFolder, accelerator: Accelerator, *, steps: int, pace: Pace, name: str) -> int:
    """Goes on with a run to its last step, or as long as the pace allows, and saves it; returns the steps it has had.

    A killed run that is run again ends with the same weights and the same log, on one process and a CPU bit for bit.
    """
    begins = not folder.has_begun
    step = folder.resume(accelerator)
    is_main = accelerator.is_main_process

    def log(line: dict[str, object]) -> None:
        if is_main and line:
            folder.log(step, line)

    def save() -> None:
        folder.save(accelerator, step)
        work.export()

    if begins:
        work.begin()
        log(work.figures())
        save()
    clock = Clock(accelerator, pace)
    with tqdm(total=steps, initial=step, desc=name, disable=not is_main) as progress:
        while step < steps:
            is_up, is_due = clock.tell()
            if is_due:
                save()
            if is_up:
                break
            line = work.advance(step)
            step += 1
            progress.update()
            if step % pace.log_steps == 0 or step == 1:
                log(line)
                progress.set_postfix(loss=line["loss"], refresh=False)
            if step % pace.figures_steps == 0:
                log(work.figures())
    save()
    return step
