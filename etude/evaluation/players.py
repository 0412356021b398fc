"""Who plays what is asked: our engine and codec, as in service, or transformers' own `generate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import AutoProcessor, MusicgenForConditionalGeneration

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.codec_decoder.codec import Codec, decode
from deployments.language_model.engine.engine import Engine
from deployments.language_model.loading import AUTO, load_decoder
from deployments.language_model.placement import OnCpu
from deployments.messages import CodeRequest, Sampling
from deployments.text_encoder.encoder import TextEncoder
from etude.language_model.encoder import CodeEncoder

# Clips under way at a time.
_AT_ONCE = 8


@dataclass(frozen=True)
class Clip:
    """sound: float32 [samples], channels mixed. codes: int16 [K, T]."""

    sound: NDArray[np.float32]
    codes: NDArray[np.int16]


class Player(Protocol):
    """Plays a checkpoint."""

    def play(self, texts: Sequence[str], *, num_frames: int, seed: int) -> list[Clip]:
        """A clip for each text; of the same seed the same."""
        ...


class EnginePlayer:
    """As the service has it, on a CPU, each kernel in the type that the service would choose."""

    def __init__(self, folder: Path, sampling: Sampling, *, num_threads: int) -> None:
        self._checkpoint = Checkpoint.open(folder)
        self._text_encoder = TextEncoder.from_checkpoint(self._checkpoint)
        self._codec = Codec.from_checkpoint(self._checkpoint)
        self._sampling, self._num_threads = sampling, num_threads

    def play(self, texts: Sequence[str], *, num_frames: int, seed: int) -> list[Clip]:
        decoder = load_decoder(
            self._checkpoint, AUTO, OnCpu(), max_frames=num_frames, num_slots=_AT_ONCE, num_threads=self._num_threads
        )
        engine = Engine(decoder, num_slots=_AT_ONCE, max_waiting=len(texts), max_frames=num_frames)
        try:
            for i, states in enumerate(self._text_encoder.encode(texts)):
                engine.add(CodeRequest(str(i), states, num_frames, seed + i, self._sampling))
            parts: list[list[NDArray[np.int16]]] = [[] for _ in texts]
            with tqdm(total=len(texts), unit="clip", desc="playing") as progress:
                while not engine.idle:
                    for frames in engine.step():
                        parts[int(frames.request_id)].append(frames.codes)
                        progress.update(frames.finished)
        finally:
            engine.close()
        codes = [np.concatenate(each, axis=1) for each in parts]
        return [Clip(decode(self._codec, each).mean(axis=0), each) for each in codes]


class TransformersPlayer:
    """By transformers alone, in float32."""

    def __init__(self, folder: Path, sampling: Sampling) -> None:
        self._model = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
        self._processor = AutoProcessor.from_pretrained(folder)
        self._sampling = sampling
        self._encoder = CodeEncoder(self._model.audio_encoder, channels=self._model.config.decoder.audio_channels)

    def play(self, texts: Sequence[str], *, num_frames: int, seed: int) -> list[Clip]:
        """The codes are those of the sound that comes out; `generate` keeps its own to itself."""
        clips = []
        delay = max(self._model.config.decoder.num_codebooks // self._model.config.decoder.audio_channels - 1, 0)
        for first in tqdm(range(0, len(texts), _AT_ONCE), unit="batch", desc="playing"):
            batch = list(texts[first : first + _AT_ONCE])
            inputs = self._processor(text=batch, padding=True, return_tensors="pt")
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed + first)
                sounds = self._model.generate(
                    **inputs,
                    do_sample=True,
                    guidance_scale=self._sampling.guidance_scale,
                    temperature=self._sampling.temperature,
                    top_k=self._sampling.top_k,
                    max_new_tokens=num_frames + delay,
                )
            for sound in sounds.numpy():
                clips.append(Clip(sound.mean(axis=0), self._encoder.encode(sound)))
        return clips
