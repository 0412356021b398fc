"""A model whose codes are a pure function of the seed, and whose workers crash, stall and refuse as a test says."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import numpy as np

from deployments.language_model.errors import EngineMismatch
from deployments.messages import (
    CodeFrames,
    CodeRequest,
    EngineIdentity,
    Heartbeat,
    QueueClass,
    Sampling,
    SoundFormat,
)
from serve_app.database.lease_table import HeldLease, Lease, TakenLease
from serve_app.database.leases import LeaseRenewer
from serve_app.pipeline.generation import Work
from serve_app.pipeline.workers import WorkerLost

IDENTITY = EngineIdentity("f" * 64, "scripted", 2048)
SOUND = SoundFormat(32_000, 1, 50, 4)


def codes_of(seed: int, num_frames: int) -> np.ndarray:
    """int16 [4, T]; the first frames don't depend on how many follow."""
    frames = np.arange(num_frames, dtype=np.int64)
    return np.stack([(seed * 31 + 7 * k + frames * (k + 3)) % 2048 for k in range(4)]).astype(np.int16)


def work(seed: int = 1, prompt: str = "a tone") -> Work:
    return Work(f"{seed:064x}", "model", prompt, seed, Sampling(), IDENTITY)


@dataclass(frozen=True)
class Crashes:
    """The worker crashes before it makes this frame."""

    frame: int


@dataclass(frozen=True)
class Stalls:
    """The worker makes no more from this frame on, and sends no heartbeat."""

    frame: int


@dataclass(frozen=True)
class SlowsDown:
    """From this frame on every chunk takes so long, with heartbeats in between."""

    frame: int
    chunk_s: float


@dataclass(frozen=True)
class Queues:
    """Waits for a slot, with heartbeats."""

    wait_s: float


@dataclass(frozen=True)
class Refuses:
    error: Exception


Behaviour = Crashes | Stalls | SlowsDown | Queues | Refuses


class InMemoryLeases:
    """Leases of turns, in one process: what replicas share. held: by name."""

    def __init__(self) -> None:
        self.lease_s = 15.0
        self.held: set[str] = set()

    async def take(self, name: str, *, value: str = "") -> HeldLease | TakenLease:
        del value
        if name in self.held:
            return TakenLease("another", "", 1.0)
        self.held.add(name)
        return HeldLease(Lease(name, "one", 1), math.inf)

    def kept(self, held: HeldLease) -> LeaseRenewer:
        return LeaseRenewer(self, held)

    async def renew(self, lease: Lease) -> bool:
        return lease.name in self.held

    async def release(self, lease: Lease) -> None:
        self.held.remove(lease.name)


class ScriptedStages:
    """behaviours: of the calls of `generate`, in their order; those after them go well. chunk: frames made at once."""

    def __init__(
        self, behaviours: Sequence[Behaviour] = (), *, identity: EngineIdentity = IDENTITY, step_s: float = 0.001
    ) -> None:
        self.behaviours = list(behaviours)
        self.engine = identity
        self.step_s = step_s
        self.made: Counter[tuple[int, int]] = Counter()  # (seed, frame): how often
        self.requests: list[CodeRequest] = []
        self.num_running = 0
        self.most_running = 0
        self.encoded: list[str] = []
        self.encoder_losses = 0

    async def sound_format(self) -> SoundFormat:
        return SOUND

    async def identity(self, queue: QueueClass) -> EngineIdentity:
        del queue
        return self.engine

    async def encode(self, prompt: str) -> np.ndarray:
        self.encoded.append(prompt)
        if self.encoder_losses:
            self.encoder_losses -= 1
            raise WorkerLost("the text encoder died")
        return np.full((2, 8), len(prompt), np.float32)

    async def generate(self, request: CodeRequest) -> AsyncGenerator[CodeFrames | Heartbeat, None]:
        self.requests.append(request)
        self.num_running += 1
        self.most_running = max(self.most_running, self.num_running)
        try:
            if request.identity is not None and request.identity != self.engine:
                raise EngineMismatch(self.engine)
            behaviour = self.behaviours.pop(0) if self.behaviours else None
            if isinstance(behaviour, Refuses):
                raise behaviour.error
            async for item in self._make(request, behaviour):
                yield item
        finally:
            self.num_running -= 1

    async def _make(
        self, request: CodeRequest, behaviour: Behaviour | None
    ) -> AsyncGenerator[CodeFrames | Heartbeat, None]:
        if isinstance(behaviour, Queues):
            yield Heartbeat(running=False)
            for _ in range(int(behaviour.wait_s)):
                await asyncio.sleep(1)
                yield Heartbeat(running=False)
        at = 0 if request.prompt_codes is None else request.prompt_codes.shape[1]
        if at:
            assert np.array_equal(request.prompt_codes, codes_of(request.seed, at)), "it goes on from its own codes"
        if not isinstance(behaviour, Stalls) or behaviour.frame > at:
            yield Heartbeat(running=True)
        for end in [end for end in request.chunk_ends if at < end < request.num_frames] + [request.num_frames]:
            for frame in range(at, end):
                if isinstance(behaviour, Crashes) and behaviour.frame == frame:
                    raise WorkerLost("killed")
                if isinstance(behaviour, Stalls) and behaviour.frame == frame:
                    await asyncio.Event().wait()
                await asyncio.sleep(self.step_s)
                self.made[request.seed, frame] += 1
            if isinstance(behaviour, SlowsDown) and end > behaviour.frame:
                for _ in range(int(behaviour.chunk_s)):
                    await asyncio.sleep(1)
                    yield Heartbeat(running=True)
            codes = codes_of(request.seed, end)[:, at:end]
            yield CodeFrames(request.request_id, at, codes, end == request.num_frames)
            at = end
