from __future__ import annotations

import io
from collections import Counter

import mido
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.score.compose import compose
from etude.score.instruments import DRUMS
from etude.score.midi import to_midi
from tests.etude.score.properties import tried


def read_back(midi: mido.MidiFile) -> mido.MidiFile:
    file = io.BytesIO()
    midi.save(file=file)
    return mido.MidiFile(file=io.BytesIO(file.getvalue()))


@tried
@given(seed=st.integers(0, 2**40))
def test_the_file_has_every_note_when_it_is_played(seed: int) -> None:
    piece = compose(seed)
    now, started = 0.0, Counter[tuple[int, int]]()
    sounding: set[tuple[int, int]] = set()
    for message in read_back(to_midi(piece)):
        now += message.time
        if message.type == "note_on":
            started[message.note, message.velocity] += 1
            assert (message.channel, message.note) not in sounding
            sounding.add((message.channel, message.note))
        elif message.type == "note_off":
            sounding.remove((message.channel, message.note))
    assert not sounding
    assert now == pytest.approx(piece.plan.length_s, abs=0.01)
    assert started == Counter((note.pitch, note.velocity) for track in piece.tracks for note in track.notes)


@tried
@given(seed=st.integers(0, 2**40))
def test_drums_have_their_channel_and_everybody_else_one_of_their_own(seed: int) -> None:
    piece = compose(seed)
    midi = to_midi(piece)
    assert len(midi.tracks) == 1 + len(piece.tracks)
    channels = []
    for track, written in zip(piece.tracks, midi.tracks[1:], strict=True):
        (channel,) = {message.channel for message in written if not message.is_meta}
        (program,) = [message.program for message in written if message.type == "program_change"]
        assert program == track.player.program
        assert (channel == 9) == (track.player.family == DRUMS)
        channels.append(channel)
    assert len(set(channels)) == len(channels)


def test_the_tempo_is_the_plans() -> None:
    piece = compose(3)
    (tempo,) = [message.tempo for message in to_midi(piece).tracks[0] if message.type == "set_tempo"]
    assert mido.tempo2bpm(tempo) == pytest.approx(piece.plan.tempo_bpm, rel=1e-5)
