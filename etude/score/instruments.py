"""The instruments: what each is called, what it can play, and how General MIDI gets it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Instrument:
    """An instrument or a drum kit.

    family: what it is heard as; several instruments may share one.
    words: what people call it, all of them true, the plainest first.
    program: General MIDI's, counted from 0; of a drum kit, the kit's on channel 10.
    low, high: the MIDI pitches it is written for, well inside what the real one has.
    centre: where its part lies unless there is a reason.
    level: how loud it is made in the mix, as MIDI's channel volume.
    monophonic: one note at a time. held: its notes last as long as they are played, where others' die away.
    slow: it speaks too late for rhythms. cymbals: how hard a kit's cymbals are hit, where 1 would drown the rest.
    """

    family: str
    words: tuple[str, ...]
    program: int
    low: int = 0
    high: int = 127
    centre: int = 64
    level: int = 100
    monophonic: bool = False
    held: bool = False
    slow: bool = False
    cymbals: float = 1.0


INSTRUMENTS: dict[str, Instrument] = {
    "grand piano": Instrument("piano", ("piano", "grand piano"), 0, 33, 93, 64, 118),
    "electric piano": Instrument("electric piano", ("electric piano", "rhodes"), 4, 36, 88, 62, 78),
    "music box": Instrument("music box", ("music box",), 10, 60, 98, 80, 94),
    "organ": Instrument("organ", ("organ", "electric organ"), 16, 36, 86, 62, 88, held=True),
    "church organ": Instrument("organ", ("organ", "church organ", "pipe organ"), 19, 36, 86, 62, 76, held=True),
    "nylon guitar": Instrument("acoustic guitar", ("acoustic guitar", "nylon guitar"), 24, 40, 81, 60, 82),
    "steel guitar": Instrument("acoustic guitar", ("acoustic guitar", "steel-string guitar"), 25, 40, 81, 60, 92),
    "jazz guitar": Instrument("electric guitar", ("electric guitar", "jazz guitar"), 26, 40, 84, 60, 87),
    "clean guitar": Instrument("electric guitar", ("electric guitar", "clean guitar"), 27, 40, 84, 61, 94),
    "distorted guitar": Instrument(
        "electric guitar", ("electric guitar", "distorted guitar"), 30, 40, 81, 67, 66, monophonic=True, held=True
    ),
    "double bass": Instrument("bass", ("bass", "double bass", "upright bass"), 32, 28, 57, 38, 94, monophonic=True),
    "electric bass": Instrument("bass", ("bass", "electric bass", "bass guitar"), 33, 28, 57, 38, 92, monophonic=True),
    "synth bass": Instrument("bass", ("bass", "synth bass"), 38, 28, 57, 38, 92, monophonic=True, held=True),
    "strings": Instrument("strings", ("strings", "string ensemble"), 48, 40, 90, 65, 94, held=True),
    "trumpet": Instrument("trumpet", ("trumpet",), 56, 55, 82, 69, 86, monophonic=True, held=True),
    "saxophone": Instrument("saxophone", ("saxophone", "sax"), 65, 52, 80, 66, 76, monophonic=True, held=True),
    "flute": Instrument("flute", ("flute",), 73, 60, 93, 76, 74, monophonic=True, held=True),
    "square lead": Instrument(
        "synth lead", ("synth lead", "lead synth"), 80, 48, 90, 69, 82, monophonic=True, held=True
    ),
    "saw lead": Instrument("synth lead", ("synth lead", "lead synth"), 81, 48, 90, 69, 82, monophonic=True, held=True),
    "synth pad": Instrument("synth pad", ("synth pad", "pad"), 89, 40, 84, 62, 98, held=True, slow=True),
    "drum kit": Instrument("drums", ("drums", "drum kit", "percussion"), 0, level=100),
    "rock drums": Instrument("drums", ("drums", "drum kit"), 16, level=86),
    "brushed drums": Instrument("drums", ("drums", "brushed drums"), 40, level=104),
    "electronic drums": Instrument("drums", ("drums", "electronic drums", "drum machine"), 24, level=78),
    "808 drums": Instrument("drums", ("drums", "808 drums", "drum machine"), 25, level=64, cymbals=0.5),
}

DRUMS = "drums"
GUITARS = ("acoustic guitar", "electric guitar")
SYNTHS = ("synth lead", "synth pad")
FAMILIES = tuple(dict.fromkeys(instrument.family for instrument in INSTRUMENTS.values()))
