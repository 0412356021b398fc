"""Playing exactly: every note on a frame of the codec, and the same every time it is played.

A language model hears frames of 20 ms. Where a note begins within one, how hard it is struck, what rings on in the
room and how the whole is levelled all change the codes of one and the same note, and a small model spends itself on
such chance. Played exactly, a note of an instrument is the same samples wherever it stands, so its codes repeat, and
what is left to be foreseen is the music.
"""

from __future__ import annotations

import dataclasses
import math

from etude.score.note import PlayedNote
from etude.score.plan import FRAME_S, Plan
from etude.score.planner import FASTEST_BPM, SLOWEST_BPM

# The frames that a beat may have, from the fastest tempo's to the slowest's.
BEATS = range(round(60 / FASTEST_BPM / FRAME_S), round(60 / SLOWEST_BPM / FRAME_S) + 1)

# Nobody plays a millisecond off on purpose, so the frame is the grid; and this is the grid of velocities.
_VELOCITY_STEP = 16


def exactly(plan: Plan) -> Plan:
    """The plan with a beat of whole frames, the nearest to its own, and no silence, fade or slowing at either end."""
    frames = round(60 / plan.tempo_bpm / FRAME_S)
    beat_s = frames * FRAME_S
    return dataclasses.replace(
        plan,
        frames_per_beat=frames,
        tempo_bpm=round(60 / beat_s),
        num_bars=math.ceil(plan.length_s / (plan.beats_per_bar * beat_s)),
        lead_in_s=0.0,
        opening="at once" if plan.opening == "fade in" else plan.opening,
        ending="cut",
        lowpass_hz=None,
    )


def on_frames(note: PlayedNote) -> PlayedNote:
    """The note from the nearest frame on, for whole frames, one at least, as loud as the nearest of a few levels."""
    start = round(note.start_s / FRAME_S)
    stop = max(start + 1, round(note.end_s / FRAME_S))
    levels = round(note.velocity / _VELOCITY_STEP)
    velocity = min(max(levels, 2) * _VELOCITY_STEP, 127)
    return PlayedNote(start * FRAME_S, (stop - start) * FRAME_S, note.pitch, velocity)
