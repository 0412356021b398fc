"""Pieces as sound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etude.score.dice import Dice
from etude.score.midi import to_midi
from etude.score.piece import Piece
from etude.sound import mastering
from etude.sound.fluidsynth import Synthesizer
from etude.sound.loudness import to_loudness
from etude.sound.mastering import Sound
from etude.sound.room import Room

SAMPLE_RATE = 32000

# Fades take this share of a piece, from and to.
_FADE_IN, _FADE_OUT = (0.1, 0.2), (0.2, 0.35)

# Of exact pieces, so that a note is as loud in one piece as in the next. Who plays alone may be louder: there is room.
_EXACT_GAIN = {"solo": 4.0, "duo": 2.5, "trio": 2.5, "band": 2.5}

# A cut in full sound would click.
_CUT_S = 0.01


@dataclass(frozen=True)
class Finish:
    """What is done to every recording in place of the synthesizer's reverb and the plan's level. room: None for none.
    rumble_hz: below which there is nothing. target_lufs: before fades.
    """

    room: Room | None
    target_lufs: float
    rumble_hz: float


def render(piece: Piece, synthesizer: Synthesizer, finish: Finish | None = None) -> Sound:
    """The piece at 32 kHz, mono, [length_s · 32000] samples of at most 0.9.

    The same piece gives the same samples, with the same release of FluidSynth. Raises SynthesizerError.
    """
    plan = piece.plan
    dice = Dice(plan.seed, "sound")
    num_samples = round(plan.length_s * SAMPLE_RATE)
    reverb = not plan.is_exact and finish is None
    sound: Sound = synthesizer.play(to_midi(piece), SAMPLE_RATE, reverb=reverb).mean(axis=0)[:num_samples]
    sound = np.pad(sound, (0, num_samples - len(sound)))
    if plan.lowpass_hz is not None:
        sound = mastering.low_pass(sound, plan.lowpass_hz, SAMPLE_RATE)
    if finish is not None:
        sound = mastering.high_pass(sound, finish.rumble_hz, SAMPLE_RATE)
        if finish.room is not None:
            sound = finish.room.sound_in(sound, SAMPLE_RATE)
        sound = to_loudness(sound, finish.target_lufs, SAMPLE_RATE)
    elif plan.is_exact:
        sound = mastering.below_peak(sound * _EXACT_GAIN[plan.ensemble])
    else:
        sound = mastering.level(sound, plan.loudness_db, SAMPLE_RATE)
    if plan.opening == "fade in":
        sound = mastering.fade_in(sound, plan.length_s * dice.uniform(*_FADE_IN), SAMPLE_RATE)
    fade_out_s = plan.length_s * dice.uniform(*_FADE_OUT) if plan.ending == "fade out" else _CUT_S
    return mastering.fade_out(sound, fade_out_s, SAMPLE_RATE)
