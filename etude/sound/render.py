"""Pieces as sound."""

from __future__ import annotations

import numpy as np

from etude.score.dice import Dice
from etude.score.midi import to_midi
from etude.score.piece import Piece
from etude.sound import mastering
from etude.sound.fluidsynth import Synthesizer
from etude.sound.mastering import Sound

SAMPLE_RATE = 32000

# Fades take this share of a piece, from and to.
_FADE_IN, _FADE_OUT = (0.1, 0.2), (0.2, 0.35)

# Of exact pieces, so that a note is as loud in one piece as in the next. Who plays alone may be louder: there is room.
_EXACT_GAIN = {"solo": 4.0, "duo": 2.5, "trio": 2.5, "band": 2.5}

# A cut in full sound would click.
_CUT_S = 0.01


def render(piece: Piece, synthesizer: Synthesizer) -> Sound:
    """The piece at 32 kHz, mono, [length_s · 32000] samples of at most 0.9.

    The same piece gives the same samples, with the same release of FluidSynth. Raises SynthesizerError.
    """
    plan = piece.plan
    dice = Dice(plan.seed, "sound")
    num_samples = round(plan.length_s * SAMPLE_RATE)
    sound: Sound = synthesizer.play(to_midi(piece), SAMPLE_RATE, reverb=not plan.is_exact).mean(axis=0)[:num_samples]
    sound = np.pad(sound, (0, num_samples - len(sound)))
    if plan.lowpass_hz is not None:
        sound = mastering.low_pass(sound, plan.lowpass_hz, SAMPLE_RATE)
    if plan.is_exact:
        sound = mastering.below_peak(sound * _EXACT_GAIN[plan.ensemble])
    else:
        sound = mastering.level(sound, plan.loudness_db, SAMPLE_RATE)
    if plan.opening == "fade in":
        sound = mastering.fade_in(sound, plan.length_s * dice.uniform(*_FADE_IN), SAMPLE_RATE)
    fade_out_s = plan.length_s * dice.uniform(*_FADE_OUT) if plan.ending == "fade out" else _CUT_S
    return mastering.fade_out(sound, fade_out_s, SAMPLE_RATE)
