"""An engine of random weights, and how long it takes for requests that come at once, step by step."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deployments.language_model.config import DecoderConfig
from deployments.language_model.engine.engine import Engine
from deployments.language_model.engine.request import num_steps
from deployments.language_model.loading import INT8, make_decoder, set_torch_threads, warm_up
from deployments.language_model.weights import fuse
from loadtests.measuring.hardware import now
from loadtests.measuring.requests import FRAME_RATE, code_requests, first_sound_frames

LAST_STEPS = 100


@dataclass(frozen=True)
class EngineTimes:
    """audio_s: seconds of sound of all requests together. steps_s: of each call of `step`, of which a device that is a
    step ahead takes one more than there are steps. first_sound_s: until the frames were there with which the last of
    the requests begins to sound.
    """

    audio_s: float
    num_steps: int
    total_s: float
    steps_s: np.ndarray
    first_sound_s: float

    @property
    def audio_s_per_s(self) -> float:
        return self.audio_s / self.total_s

    @property
    def ms_per_step(self) -> float:
        return 1000 * self.total_s / self.num_steps

    @property
    def last_ms_per_step(self) -> float:
        """Of the last hundred steps: the longer a clip, the more keys and values a step reads."""
        return 1000 * float(self.steps_s[-LAST_STEPS:].mean())

    def percentile_ms(self, percent: float) -> float:
        return 1000 * float(np.percentile(self.steps_s, percent))


@contextmanager
def warm_engine(
    config: DecoderConfig, tensors: Mapping[str, Tensor], dtype: str, device: str, num_slots: int, max_frames: int
) -> Iterator[Engine]:
    """With the threads that torch has been given, which it has again afterwards."""
    num_threads = torch.get_num_threads()
    weights = fuse(tensors, config, "float32" if dtype == INT8 else dtype, device)
    decoder = make_decoder(config, weights, dtype, max_frames, num_threads)
    del weights
    set_torch_threads(dtype, num_threads)
    try:
        engine = Engine(decoder, num_slots=num_slots, max_frames=max_frames)
        warm_up(engine)
        yield engine
    finally:
        decoder.close()
        torch.set_num_threads(num_threads)


def time_engine(engine: Engine, device: str, requests: int, frames: int) -> EngineTimes:
    """All requests are admitted together; the engine is idle again afterwards."""
    for request in code_requests(requests, frames, engine.config.text_width):
        engine.add(request)
    steps_s, enough, first_sound_s = [], first_sound_frames(frames), 0.0
    started_s = stamp_s = now(device)
    while not engine.idle:
        made = engine.step()
        # Not by `now`: a device may be a step ahead, and waiting for it would be measured too.
        before_s, stamp_s = stamp_s, time.perf_counter()
        steps_s.append(stamp_s - before_s)
        if any(each.first_frame + each.codes.shape[1] == enough for each in made):
            first_sound_s = stamp_s - started_s
    total_s = now(device) - started_s
    return EngineTimes(
        audio_s=requests * frames / FRAME_RATE,
        num_steps=num_steps(frames, engine.config.delays),
        total_s=total_s,
        steps_s=np.array(steps_s),
        first_sound_s=first_sound_s,
    )
