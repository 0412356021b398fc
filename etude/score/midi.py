"""Pieces as Standard MIDI Files."""

from __future__ import annotations

import math

import mido

from etude.score.instruments import DRUMS
from etude.score.piece import Piece, Track

_TICKS_PER_BEAT = 960

# Of exact pieces, and how long before its frame a note is due. FluidSynth looks every 64 samples, 2 ms at 32 kHz, what
# is due, so that a frame begins where it looks; due at that very moment, a note would be rounded to it or past it.
_TICKS_PER_FRAME, _EARLY = 40, 2
_DRUM_CHANNEL = 9
_VOLUME, _REVERB, _CHORUS = 7, 91, 93
_EXERCISE_REVERB = 20


def to_midi(piece: Piece) -> mido.MidiFile:
    """A file of type 1 at the piece's tempo: a track of its own for the tempo, then one for each instrument.

    It ends at the plan's length, to a tick of which there are 960 a beat; what sounds beyond is let go there.
    """
    plan = piece.plan
    ticks_per_beat = plan.frames_per_beat * _TICKS_PER_FRAME if plan.frames_per_beat else _TICKS_PER_BEAT
    ticks_per_s = ticks_per_beat / plan.beat_s
    end = math.ceil(plan.length_s * ticks_per_s)
    midi = mido.MidiFile(type=1, ticks_per_beat=ticks_per_beat)
    conductor = mido.MidiTrack()
    conductor.append(mido.MetaMessage("set_tempo", tempo=round(plan.beat_s * 1e6)))
    conductor.append(mido.MetaMessage("time_signature", numerator=plan.beats_per_bar, denominator=4))
    conductor.append(mido.MetaMessage("end_of_track", time=end))
    midi.tracks.append(conductor)
    channels = iter(channel for channel in range(16) if channel != _DRUM_CHANNEL)
    reverb = plan.style.reverb if plan.style else _EXERCISE_REVERB
    early = 0
    if plan.is_exact:
        reverb, early = 0, _EARLY
    for track in piece.tracks:
        channel = _DRUM_CHANNEL if track.player.family == DRUMS else next(channels)
        midi.tracks.append(_track(track, channel, reverb, ticks_per_s, early, end))
    return midi


def _track(track: Track, channel: int, reverb: int, ticks_per_s: float, early: int, end: int) -> mido.MidiTrack:
    player = track.player
    events: list[tuple[int, int, mido.Message]] = []
    for note in track.notes:
        start, stop = (max(0, round(at_s * ticks_per_s) - early) for at_s in (note.start_s, note.end_s))
        on = mido.Message("note_on", channel=channel, note=note.pitch, velocity=note.velocity)
        off = mido.Message("note_off", channel=channel, note=note.pitch, velocity=0)
        # Of what happens at once, letting go comes first.
        events += [(start, 1, on), (max(min(stop, end), start + 1), 0, off)]
    written = mido.MidiTrack()
    written.append(mido.MetaMessage("track_name", name=track.instrument))
    written.append(mido.Message("program_change", channel=channel, program=player.program))
    for control, value in ((_VOLUME, player.level), (_REVERB, reverb), (_CHORUS, 0)):
        written.append(mido.Message("control_change", channel=channel, control=control, value=value))
    now = 0
    for tick, _, message in sorted(events, key=lambda event: event[:2]):
        written.append(message.copy(time=tick - now))
        now = tick
    written.append(mido.MetaMessage("end_of_track", time=max(0, end - now)))
    return written
