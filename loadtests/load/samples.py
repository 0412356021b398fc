"""The result of one request, and the file of all results: Locust's own file has no figures for a part of a run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TextIO


@dataclass
class Sample:
    """One line of Locust's statistics, once. Begun first, and complete when it is recorded.

    method, name: as Locust tells it; a method of AUDIO is no request of its own, but what a listener had of one. at_s:
    when it began, since the run did. ms: what it took. size_bytes: of what came. audio_s: of sound that came with it.
    outcome: X-Cache, where there is one. end: `refused` is by 429, and `cut off` by Locust, which ends its users with
    the run; neither is a failure of the service. failure: what was wrong, one sentence.
    """

    method: str
    name: str
    at_s: float
    ms: float = 0.0
    size_bytes: int = 0
    audio_s: float = 0.0
    outcome: str | None = None
    end: Literal["right", "wrong", "refused", "cut off"] = "right"
    failure: str | None = None

    @property
    def end_s(self) -> float:
        return self.at_s + self.ms / 1000


class SampleFile:
    """One JSON object a line, each written at once, so that a reader can look on."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, sample: Sample) -> None:
        self._file.write(json.dumps(asdict(sample)) + "\n")
        self._file.flush()


class SampleReader:
    """Reads such a file while it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> list[Sample]:
        """What is there since the last call; nothing while there is no file."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        return [Sample(**json.loads(line)) for line in whole.splitlines()]
