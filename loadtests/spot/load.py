"""Locust beside what this process's event loop does, for as long as that lasts."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from loadtests.load.levels import never_ended
from loadtests.load.locust_process import LoadError, run_locust
from loadtests.load.samples import Sample

# It is ended before.
MAX_S = 600


class LocustLoad:
    """users: of all kinds together. clock: seconds since the demonstration began; may be called from any thread."""

    def __init__(self, users: int, arguments: Sequence[str], folder: Path, clock: Callable[[], float]) -> None:
        self._arguments = ["--shape", "soak", "--levels", str(users), "--hold", str(MAX_S), *arguments]
        self._folder = folder
        self._clock = clock
        self._enough = threading.Event()
        self._left = threading.Event()
        self._began_s = math.inf
        self._samples: Sequence[Sample] = ()

    @property
    def samples(self) -> list[Sample]:
        """What all requests came to so far, with times since the demonstration began."""
        return [replace(sample, at_s=self._began_s + sample.at_s) for sample in self._samples]

    @property
    def told(self) -> str:
        requests = [sample for sample in self._samples if sample.method not in ("AUDIO", "429")]
        return f"{len(requests)} requests, {sum(map(failed, requests))} failed"

    async def run(self, url: str, environment: Mapping[str, str]) -> None:
        """Returns when there has been `enough`. Cancelled, it leaves no process. Raises: LoadError."""
        try:
            await asyncio.to_thread(self._run, url, environment)
            if not self._enough.is_set():
                raise LoadError("Locust ended before it should")
        finally:
            self._left.set()

    def enough(self) -> None:
        """Users end what they have begun, and then Locust ends."""
        self._enough.set()

    def _run(self, url: str, environment: Mapping[str, str]) -> None:
        arguments, over = self._arguments, self._enough.is_set
        self._look(run_locust(url, arguments, MAX_S, self._folder, environment, self._look, over))

    def _look(self, samples: Sequence[Sample]) -> None:
        if self._left.is_set():
            raise LoadError("nobody waits for it any more")
        if samples:
            # Locust counts from its own start, which was as long before its last sample ended as that says, or longer.
            self._began_s = min(self._began_s, self._clock() - max(sample.end_s for sample in samples))
            self._samples = tuple(samples)


def failed(sample: Sample) -> bool:
    """Whether a request had a wrong answer, or none."""
    return sample.end == "wrong" or never_ended(sample)
