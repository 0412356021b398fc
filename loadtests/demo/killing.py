"""One worker killed while clips are on their way, and what the service itself says of it, in its logs."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

from loadtests.demo.workers import language_models
from loadtests.measuring.running import APPLICATION, MODEL, Running

# `serve_app.pipeline.generation` writes the one, Serve (Ray 2.60) the other, when requests may go to a new replica.
LOST = re.compile(r"generation ([0-9a-f]{16})[0-9a-f]* lost its worker at frame (\d+)")
_UPDATED = rf"Got updated replicas for Deployment\(name='{MODEL}-language-model', app='{APPLICATION}'\)"
_ADDED = re.compile(rf"{_UPDATED}: \d+ total \(\+(\d+) added")
_POLL_S = 0.1


class Killing:
    """say: is told what happens. killed_s: when the kill was, since all clips were asked for; None: not yet."""

    def __init__(self, service: Running, say: Callable[[str], None]) -> None:
        self.killed_s: float | None = None
        self._service = service
        self._say = say
        self._before = losses(service)

    async def run(self, after_s: float, began_s: float) -> None:
        """A kill `after_s` after all clips were asked for, at `began_s` by `time.monotonic`. May be cancelled."""
        await asyncio.sleep(began_s + after_s - time.monotonic())
        workers = language_models()
        victim = workers[0]
        victim.kill()
        self.killed_s = time.monotonic() - began_s
        self._say(
            f"{self.killed_s:.1f} s after the requests: kill -9 of process {victim.pid}, "
            f"one of {len(workers)} replicas of the language model"
        )
        num_told = 0
        while True:
            await asyncio.sleep(_POLL_S)
            frames = [frame for each in self.lost().values() for frame in each]
            if len(frames) > num_told:
                num_told = len(frames)
                self._say(
                    f"  the service's log: {num_told} clips have lost their worker, at frames {min(frames)} to "
                    f"{max(frames)}, and go on from there with another"
                )

    def lost(self) -> dict[str, list[int]]:
        """By generation, the frames at which it has lost a worker since this was made."""
        now = {name: frames[len(self._before.get(name, ())) :] for name, frames in losses(self._service).items()}
        return {name: frames for name, frames in now.items() if frames}


def losses(service: Running) -> dict[str, list[int]]:
    """By generation, as the first digits of its name, the frames at which it lost a worker."""
    lost: dict[str, list[int]] = {}
    for generation, frame in LOST.findall(_log(service)):
        lost.setdefault(generation, []).append(int(frame))
    return lost


def replicas_added(service: Running) -> int:
    """How many language-model replicas the pipeline has been told of, since its start."""
    return sum(map(int, _ADDED.findall(_log(service))))


def _log(service: Running) -> str:
    """What the pipeline has to say."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace") for log in service.replica_logs("pipeline"))
