"""What a genre is made of."""

from __future__ import annotations

from dataclasses import dataclass

from etude.score.key import Mode


@dataclass(frozen=True)
class Genre:
    """words: what people call it, all true of every piece. nouns: what they call a piece of it.

    tempo_bpm: from and to. metres: beats in a bar. swing: where the second of two equal notes falls, from and to: 0.5
    is straight and 0.667 a triplet. swing_beats: the two notes together.
    leads, keys, basses, kits, pads: instruments for the melody, for chords, for the bass line, drums, and held chords.
    melodies, comps, lines, beats: styles of melody, accompaniment, bass and drums; solo_comps: of one who does it all.
    tightness_s: how far players are off the beat, as a standard deviation. reverb: MIDI's send, 0 to 127.
    pentatonic: how often melodies keep to five notes. dominant_cadence: whether endings go through the dominant.
    """

    words: tuple[str, ...]
    nouns: tuple[str, ...]
    tempo_bpm: tuple[int, int]
    modes: tuple[Mode, ...]
    moods: tuple[str, ...]
    leads: tuple[str, ...]
    keys: tuple[str, ...]
    melodies: tuple[str, ...]
    comps: tuple[str, ...]
    solo_comps: tuple[str, ...]
    basses: tuple[str, ...] = ()
    kits: tuple[str, ...] = ()
    pads: tuple[str, ...] = ()
    lines: tuple[str, ...] = ("roots",)
    beats: tuple[str, ...] = ()
    metres: tuple[int, ...] = (4,)
    swing: tuple[float, float] = (0.5, 0.5)
    swing_beats: float = 1.0
    tightness_s: float = 0.008
    reverb: int = 40
    pentatonic: float = 0.3
    dominant_cadence: bool = False
