"""Rolls: what the score of a piece says of every frame, for a decoder to tell while it learns to foresee codes.

Of a code's two thousand values hardly one says plainly that a beat is due or that the key has no F sharp, and what a
text says of tempo and key is worth some ten nats of a clip's eight thousand. A roll says it plainly, in every frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from etude.score.compose import perform, write
from etude.score.exact import BEATS, exactly
from etude.score.instruments import DRUMS
from etude.score.piece import Piece
from etude.score.plan import FRAME_S, Level, Plan
from etude.score.planner import draw_plan

Roll = NDArray[np.float16]

# Rows that are 0 or 1: for each pitch class whether it begins, whether anything pitched does, whether a drum does, for
# each pitch class whether it sounds, and for each number of frames whether a beat has so many.
_BEGINS, _PITCHED, _DRUM, _SOUNDS, BEAT = 0, 12, 13, 14, 26
NUM_BITS = BEAT + len(BEATS)

# And where in the beat the frame is, as cosine and sine.
NUM_ROWS = NUM_BITS + 2


def roll_of(attributes: Mapping[str, Any], num_frames: int) -> Roll | None:
    """[NUM_ROWS, num_frames] of a piece that `etude.dataset` had played exactly, found again by its seed; None for any
    other clip.
    """
    plan = next((plan for plan in _plans(attributes) if _is_of(plan, attributes)), None)
    return None if plan is None else roll(perform(write(plan)), num_frames)


def roll(piece: Piece, num_frames: int) -> Roll:
    """[NUM_ROWS, num_frames] of a piece that is played exactly."""
    rows = np.zeros((NUM_ROWS, num_frames), dtype=np.float16)
    for track in piece.tracks:
        for note in track.notes:
            start, stop = round(note.start_s / FRAME_S), round(note.end_s / FRAME_S)
            if start >= num_frames:
                continue
            if track.player.family == DRUMS:
                rows[_DRUM, start] = 1
            else:
                pitch_class = note.pitch % 12
                rows[[_BEGINS + pitch_class, _PITCHED], start] = 1
                rows[_SOUNDS + pitch_class, start:stop] = 1
    frames_per_beat = round(piece.plan.beat_s / FRAME_S)
    rows[BEAT + BEATS.index(frames_per_beat)] = 1
    phase = 2 * math.pi * np.arange(num_frames) / frames_per_beat
    rows[NUM_BITS], rows[NUM_BITS + 1] = np.cos(phase), np.sin(phase)
    return rows


def _plans(attributes: Mapping[str, Any]) -> Iterator[Plan]:
    """Those that a clip of this seed may have."""
    if "seed" in attributes and "length_s" in attributes:
        for level in get_args(Level):
            yield exactly(draw_plan(attributes["seed"], level, attributes["length_s"]))


def _is_of(plan: Plan, attributes: Mapping[str, Any]) -> bool:
    return all(attributes.get(name) == value for name, value in plan.attributes().items())
