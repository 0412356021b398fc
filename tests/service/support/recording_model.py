"""A language-model deployment that records every frame it makes, so that tests see what was made twice."""

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
from deployments.messages import CodeFrames, CodeRequest, Heartbeat

# Ray's processes inherit the environment that Ray was started in.
FILE_VARIABLE = "MUSICGEN_TEST_RECORDED_FRAMES"

# A request with this seed kills the process that makes this frame of it, each time.
LETHAL_SEED = 666
LETHAL_FRAME = 60

# The least that a step takes of a `PacedLanguageModel`.
PACE_S = 0.005


class RecordingLanguageModel(LanguageModelDeployment):
    """Each line: generation, attempt, process, first frame, number of frames; written before the frames are sent."""

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

    async def generate(self, request: CodeRequest) -> AsyncGenerator[CodeFrames | Heartbeat, None]:
        if request.seed == LETHAL_SEED:
            self._lethal = request.request_id
        async with aclosing(super().generate(request)) as items:
            async for item in items:
                yield item


class PacedLanguageModel(RecordingLanguageModel):
    """At the pace of a larger model: MusicGen small takes 7 ms a step on two cores.

    After a loss, the frames are made again that were in work, and those made while the last report was on its way to
    the pipeline: some ten milliseconds, in which the tests' own fast model makes more than a window.
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
class RecordedGeneration:
    """What was made of one generation.

    frames: how often each was made. processes: that made them, in order. attempts: the requests that made any.
    """

    frames: Counter[int]
    processes: list[int]
    attempts: set[str]


def recorded_generations(file: Path) -> dict[str, RecordedGeneration]:
    """By generation: the first 16 digits of its key."""
    found: dict[str, RecordedGeneration] = {}
    text = file.read_text()
    for line in text[: text.rfind("\n") + 1].splitlines():  # the last one may be on its way
        generation, attempt, process, first, number = line.split()
        made = found.setdefault(generation, RecordedGeneration(Counter(), [], set()))
        made.attempts.add(attempt)
        made.frames.update(range(int(first), int(first) + int(number)))
        if int(process) not in made.processes:
            made.processes.append(int(process))
    return found
