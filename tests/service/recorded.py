"""The language model's deployment, that writes down every frame it makes: so that a test can tell what was made twice."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from deployments.language_model.deployment import LanguageModelDeployment
from deployments.messages import CodeFrames

# Ray's processes inherit the environment that Ray was started in.
FILE_VARIABLE = "MUSICGEN_TEST_RECORDED_FRAMES"


class RecordedLanguageModel(LanguageModelDeployment):
    """Each line: generation, process, first frame, number of frames; written before anybody gets them."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        engine, step = self._loop._engine, self._loop._engine.step
        file = os.open(os.environ[FILE_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

        def recorded_step() -> list[CodeFrames]:
            made = step()
            for frames in made:
                generation = frames.request_id.split("-")[0]
                line = f"{generation} {os.getpid()} {frames.first_frame} {frames.codes.shape[1]}\n"
                os.write(file, line.encode())
            return made

        engine.step = recorded_step  # type: ignore[method-assign]


def recorded(file: Path) -> dict[str, Counter[int]]:
    """By generation (the first 16 digits of its key), how often each frame was made."""
    made: dict[str, Counter[int]] = {}
    for line in file.read_text().splitlines():
        generation, _, first, number = line.split()
        made.setdefault(generation, Counter()).update(range(int(first), int(first) + int(number)))
    return made
