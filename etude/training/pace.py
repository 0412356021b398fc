"""How often a training does what its result does not depend on."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast


@dataclass(frozen=True)
class Pace:
    """minutes: after which training stops, to be resumed; None: at the recipe's end. save_minutes: between states.
    log_steps: between lines of the log. figures_steps: between figures on held-out pieces.
    """

    minutes: float | None = None
    save_minutes: float = 5.0
    log_steps: int = 20
    figures_steps: int = 500


class Clock:
    """Says when time is up and when a state is due: the same in every process, by the first one's clock."""

    def __init__(self, accelerator: Accelerator, pace: Pace) -> None:
        self._accelerator = accelerator
        self._save_s = 60 * pace.save_minutes
        self._limit_s = float("inf") if pace.minutes is None else 60 * pace.minutes
        self._began_s = self._saved_s = time.monotonic()

    def tell(self) -> tuple[bool, bool]:
        """(time is up, a state is due). To be asked by every process as often as by any other."""
        now_s = time.monotonic()
        is_up, is_due = now_s - self._began_s >= self._limit_s, now_s - self._saved_s > self._save_s
        if self._accelerator.num_processes > 1:
            agreed = broadcast(torch.tensor([is_up, is_due], dtype=torch.int32, device=self._accelerator.device))
            is_up, is_due = (bool(each) for each in agreed.tolist())
        if is_due:
            self._saved_s = now_s
        return is_up, is_due
