"""What a codec adds to sound that was not there: combs, hum in rests, DC, levels that change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from transformers import EncodecModel

from etude.codec.crops import Crops
from etude.codec.geometry import FRAME_RATE
from etude.codec.measures.levels import largest_dc
from etude.codec.measures.lines import comb_share, loudest_line_dbfs
from etude.codec.metrics import reconstruct
from etude.sound.loudness import loudness_lufs

# Silence that a codec is given, after music and alone, and how long after it began it is listened to.
_SILENCE_S, _AFTER_S = 2.0, 0.5

_RESTS = 8
_BATCH = 8


@dataclass(frozen=True)
class Faults:
    """Over pieces. comb_share: the mean of what `comb_share` says. dc: the largest of all.

    loudness_lufs: the mean. loudness_spread_lu: from the quietest piece to the loudest. None where nothing is heard.
    """

    comb_share: float | None
    dc: float
    loudness_lufs: float | None
    loudness_spread_lu: float | None

    def as_dict(self) -> dict[str, float | None]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def of_sounds(cls, sounds: Sequence[Tensor], sample_rate: int) -> Faults:
        """Each [samples]."""
        combs = [comb_share(sound, sample_rate, FRAME_RATE) for sound in sounds]
        heard = [share for share in combs if share is not None]
        loudness = [loudness_lufs(sound.numpy(), sample_rate) for sound in sounds]
        loud = [value for value in loudness if value > -math.inf]
        return cls(
            comb_share=sum(heard) / len(heard) if heard else None,
            dc=max(largest_dc(sound, sample_rate) for sound in sounds),
            loudness_lufs=sum(loud) / len(loud) if loud else None,
            loudness_spread_lu=max(loud) - min(loud) if loud else None,
        )


def pieces_restored(model: EncodecModel, crops: Crops, *, pieces: int) -> tuple[list[Tensor], list[Tensor]]:
    """The beginnings of so many pieces, each [samples], and what the codec makes of them."""
    sounds: list[Tensor] = []
    restored: list[Tensor] = []
    for first in range(0, min(pieces, len(crops)), _BATCH):
        sound = crops.beginnings(first, min(_BATCH, pieces - first))
        sounds += sound
        restored += reconstruct(model, sound)[0]
    return sounds, restored


def line_in_silence_dbfs(model: EncodecModel, crops: Crops) -> float:
    """The loudest line that the codec plays in silence, alone or after any of some pieces; see `loudest_line_dbfs`."""
    rate = model.config.sampling_rate
    silence = round(_SILENCE_S * rate)
    music = crops.beginnings(0, _RESTS)[:, :silence]
    with_rest = torch.nn.functional.pad(music, (0, silence))
    rests = reconstruct(model, with_rest)[0][:, music.shape[1] + round(_AFTER_S * rate) :]
    alone = reconstruct(model, torch.zeros(1, silence))[0]
    return max(loudest_line_dbfs(each, rate) for each in [*rests, *alone])
