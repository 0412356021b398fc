"""The language model as a Ray Serve deployment: text states in, a stream of code frames out."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import psutil
import ray

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.checkpoints.sources import find_checkpoint
from deployments.language_model.engine import (
    ENGINE_BROKE,
    ENGINE_READY,
    ENGINE_WAITING,
    SLOTS,
    SLOTS_IN_USE,
)
from deployments.language_model.engine.engine import Engine
from deployments.language_model.engine.loop import EngineLoad, EngineLoop
from deployments.language_model.engine.request import num_steps
from deployments.language_model.errors import EngineMismatch
from deployments.language_model.gpu.decoder import held_bytes
from deployments.language_model.loading import describe, load_decoder, warm_up
from deployments.language_model.offload import TEXT_TOKENS
from deployments.language_model.placement import CpuShare, Placement, in_words, num_cores
from deployments.liveness.caller_watch import CallerWatch
from deployments.liveness.stalls import StallDetector
from deployments.messages import CodeFrames, CodeRequest, EngineIdentity, Heartbeat, QueueClass
from deployments.paths import ROOT
from deployments.scaling_stats import EngineStats, Targets
from deployments.telemetry.deployment import RayRecorder

_log = logging.getLogger("ray.serve.language_model")  # below Serve's own, whose files and format it shares


class LanguageModelDeployment:
    """Runs one engine, and streams its frames.

    It is ready once the model is warm; the log then says where it is. When the engine breaks the process ends: callers
    hear at once that the replica is lost, and no others come. Arguments that are not listed are those of `load_decoder`
    and `Engine`.

    Args:
        source, revision: as `find_checkpoint` takes them.
        cpu_share: of what is computed on a CPU.
        model, pool: its name and the queue class it is for, for metrics.
    """

    def __init__(
        self,
        source: str,
        revision: str | None,
        *,
        dtype: str,
        placement: Placement,
        cpu_share: CpuShare,
        num_slots: int,
        max_waiting: int,
        max_duration_ms: int,
        model: str = "none",
        pool: QueueClass = "realtime",
    ) -> None:
        # It warns of weights that aren't in memory, as they should be; our own line says where they are.
        logging.getLogger("accelerate").setLevel(logging.ERROR)
        num_threads = cpu_share.num_threads(num_cores(), _node_cpus())
        began_s = time.perf_counter()
        checkpoint = Checkpoint.open(find_checkpoint(source, revision, root=ROOT))
        fingerprint = checkpoint.fingerprint()

        def build() -> Engine:
            max_frames = -(-max_duration_ms * checkpoint.codec_config.frame_rate // 1000)
            decoder = load_decoder(
                checkpoint, dtype, placement, max_frames=max_frames, num_slots=num_slots, num_threads=num_threads
            )
            try:
                engine = Engine(decoder, num_slots=num_slots, max_waiting=max_waiting, max_frames=max_frames)
                warm_up(engine)
            except BaseException:
                decoder.close()
                raise
            taken_s = time.perf_counter() - began_s
            where = f"{describe(decoder, placement, num_threads)}; {_memory(engine)}"
            ENGINE_READY.tell(_log, source=source, seconds=taken_s, where=where)
            return engine

        recorder = RayRecorder()
        self._loop = EngineLoop(build, name="engine", on_failure=_end_process, recorder=recorder.labelled(model=model))
        self._recorder = recorder.labelled(model=model, pool=pool)
        self._frame_rate = checkpoint.codec_config.frame_rate
        self._targets = Targets.usual("realtime")
        self._stall_detector = StallDetector()
        self._caller_watch = CallerWatch()
        self._identity = EngineIdentity(fingerprint, self._loop.numerics, checkpoint.decoder_config.vocab_size)

    async def identity(self) -> EngineIdentity:
        """What this replica's codes depend on; the same from its start to its end."""
        return self._identity

    async def generate(self, request: CodeRequest) -> AsyncGenerator[CodeFrames | Heartbeat, None]:
        """Frees the slot when it is cancelled or its caller is gone.

        Raises:
            EngineMismatch: When the request names another engine.
            Exception: As `EngineLoop.generate`.
        """
        if self._stall_detector.stalled_recently() and not await self._caller_watch.is_wanted(request.caller):
            return
        if request.identity not in (None, self._identity):
            raise EngineMismatch(self._identity)
        items = self._caller_watch.while_caller_alive(self._loop.generate(request), request.caller)
        async with aclosing(items):
            async for item in items:
                yield item

    async def load(self) -> EngineLoad:
        """Slots and queue, after a check that none of them is lost.

        Raises:
            AssertionError, EngineFailed: As `EngineLoop.check_integrity`.
        """
        await self._loop.check_integrity()
        return self._loop.load

    def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Called by Serve, at the start and when a deploy file has changed it.

        Raises:
            ValueError: As `Targets.read`.
        """
        self._targets = Targets.read(user_config)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve, several times a second, where replicas are scaled."""
        load, throughput = self._loop.load, self._loop.frames_made
        throughput.read()
        stats = EngineStats(
            slots=load.slots_used + load.slots_free,
            in_use=load.slots_used,
            waiting=load.waiting,
            waiting_audio_s=self._loop.num_frames_waiting / self._frame_rate,
            made_audio_s_per_s=throughput.now_per_s / self._frame_rate,
            most_audio_s_per_s=throughput.peak_per_s / self._frame_rate,
            memory_bytes=psutil.Process().memory_info().rss,
        )
        return stats.numbers(self._targets)

    async def ping(self) -> None:
        """Answers once the deployment is up."""

    def check_health(self) -> None:
        """Called by Serve, every few seconds; gauges are set then.

        Raises:
            EngineFailed: Once the engine's thread has ended.
        """
        self._loop.check_health()
        load = self._loop.load
        self._recorder.set(SLOTS, load.slots_used + load.slots_free)
        self._recorder.set(SLOTS_IN_USE, load.slots_used)
        self._recorder.set(ENGINE_WAITING, load.waiting)


def _end_process(error: BaseException) -> None:
    """Python's own exit would wait for threads, and Ray's works in the main thread only."""
    ENGINE_BROKE.tell(_log, error)
    logging.shutdown()  # writes what handlers have buffered
    os._exit(1)


def _memory(engine: Engine) -> str:
    """In words: what keys and values take at most, and what the process holds now."""
    num_slots, steps = engine.scheduler.num_slots, num_steps(engine.max_frames, engine.config.delays)
    cache_bytes = engine.scheduler.memory_bytes or num_slots * engine.decoder.bytes_of(steps, 2, TEXT_TOKENS)
    held = in_words(psutil.Process().memory_info().rss)
    on_gpus = f" and {in_words(held_bytes())} of its GPUs" if held_bytes() else ""
    return f"keys and values of {num_slots} slots take up to {in_words(cache_bytes)}; the process holds {held}{on_gpus}"


def _node_cpus() -> float:
    """CPUs that Ray counts on this node; outside of a cluster there is no limit."""
    if not ray.is_initialized():
        return math.inf
    node_id = ray.get_runtime_context().get_node_id()
    return float(next(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["NodeID"] == node_id))
