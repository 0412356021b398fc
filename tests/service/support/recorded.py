"""The language model's deployment that writes down every frame it makes: what was made twice can be told."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.language_model.deployment import LanguageModelDeployment
from deployments.messages import Beat, CodeFrames, CodeRequest

# Ray's processes inherit the environment that Ray was started in.
FILE_VARIABLE = "MUSICGEN_TEST_RECORDED_FRAMES"

# A request with this seed kills the process that makes this frame of it, each time.
LETHAL_SEED = 666
LETHAL_FRAME = 60

# The least that a step takes of a `PacedLanguageModel`.
PACE_S = 0.005


class RecordedLanguageModel(LanguageModelDeployment):
    """Each line: generation, attempt, process, first frame, number of frames; written before anybody gets them."""

    _lethal: str | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        engine, step = self._loop._engine, self._loop._engine.step
        file = os.open(os.environ[FILE_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

        def recorded_step() -> list[CodeFrames]:
            made = step()
            for frames in made:
                generation, attempt = frames.request_id.split("-")
                line = f"{generation} {attempt} {os.getpid()} {frames.first_frame} {frames.codes.shape[1]}\n"
                os.write(file, line.encode())
                if frames.request_id == self._lethal and frames.first_frame >= LETHAL_FRAME:
                    os.kill(os.getpid(), signal.SIGKILL)
            return made

        engine.step = recorded_step  # type: ignore[method-assign]

    async def generate(self, request: CodeRequest) -> AsyncGenerator[CodeFrames | Beat, None]:
        if request.seed == LETHAL_SEED:
            self._lethal = request.request_id
        async with aclosing(super().generate(request)) as items:
            async for item in items:
                yield item


class PacedLanguageModel(RecordedLanguageModel):
    """No faster than a model whose losses are dear: MusicGen small takes 7 ms a step on two cores.

    What a loss has made once more is what was under way, and what was made while the last chunk was on its way to
    whoever lives on: some ten milliseconds, in which the tests' own model makes more than a window.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        engine, step = self._loop._engine, self._loop._engine.step
        due_s = 0.0

        def paced_step() -> list[CodeFrames]:
            nonlocal due_s
            time.sleep(max(0.0, due_s - time.monotonic()))  # before it, so that what is made goes out at once
            due_s = time.monotonic() + PACE_S
            return step()

        engine.step = paced_step  # type: ignore[method-assign]


@dataclass(frozen=True)
class Made:
    """What was made of one generation. frames: how often each; processes: that made them, in their order; attempts: the
    requests for it of which any was made.
    """

    frames: Counter[int]
    processes: list[int]
    attempts: set[str]


def recorded(file: Path) -> dict[str, Made]:
    """By generation: the first 16 digits of its key."""
    found: dict[str, Made] = {}
    text = file.read_text()
    for line in text[: text.rfind("\n") + 1].splitlines():  # the last one may be on its way
        generation, attempt, process, first, number = line.split()
        made = found.setdefault(generation, Made(Counter(), [], set()))
        made.attempts.add(attempt)
        made.frames.update(range(int(first), int(first) + int(number)))
        if int(process) not in made.processes:
            made.processes.append(int(process))
    return found
