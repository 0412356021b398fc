"""What is compared: the model, and beside it the least and the most that its figures could be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import EncodecModel

from etude.evaluation.players import Clip
from etude.language_model.encoder import CodeEncoder
from etude.language_model.resampling import resample
from etude.sound.render import SAMPLE_RATE

REFERENCE, CODEC, UNTRAINED, MODEL = "reference", "codec", "untrained", "model"
"""reference: the pieces that the prompts describe, rendered. codec: the same after the codec, the most that a language
model could reach. untrained: codes at random, as a language model plays before its first step."""


def rendered_sound(pcm: NDArray[np.int16], *, sample_rate: int, num_samples: int) -> NDArray[np.float32]:
    """The beginning of a rendered piece at another rate, and silence where it is shorter: float32 [num_samples]."""
    beginning = pcm[None, : -(-num_samples * SAMPLE_RATE // sample_rate)].astype(np.float32) / np.float32(32768)
    sound = resample(beginning, SAMPLE_RATE, sample_rate)[0, :num_samples]
    return np.pad(sound, (0, num_samples - len(sound)))


def references(sounds: Sequence[NDArray[np.float32]], encoder: CodeEncoder) -> list[Clip]:
    """Sounds with the codes that the codec has for them."""
    return [Clip(sound, encoder.encode(sound[None])) for sound in sounds]


def reconstructions(clips: Sequence[Clip], codec: EncodecModel, channels: int) -> list[Clip]:
    """What the codec makes of clips' codes."""
    return [Clip(decoded(clip.codes, codec, channels), clip.codes) for clip in clips]


def untrained(count: int, num_frames: int, codec: EncodecModel, channels: int, *, seed: int) -> list[Clip]:
    """All codes equally likely."""
    draw = np.random.default_rng(seed)
    shape = (channels * codec.config.num_quantizers, num_frames)
    codes = [draw.integers(codec.config.codebook_size, size=shape).astype(np.int16) for _ in range(count)]
    return [Clip(decoded(each, codec, channels), each) for each in codes]


@torch.no_grad()
def decoded(codes: NDArray[np.int16], codec: EncodecModel, channels: int) -> NDArray[np.float32]:
    """The sound of codes [K, T], channels mixed: float32 [T · hop]."""
    mono = torch.from_numpy(codes.astype(np.int64).reshape(-1, channels, codes.shape[1])).transpose(0, 1)
    sound: NDArray[np.float32] = codec.decode(mono[None], [None]).audio_values[:, 0].mean(0).numpy()
    return sound
