"""How a piece is recorded: by which players, with which sound font, in which room, and how loud it goes out.

`render` alone plays every piece on one sound font, levelled by its plan. Whoever learns from that has heard one hall
and few ways to strike a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from etude.score.dice import Dice
from etude.score.piece import Piece
from etude.score.touch import with_touches
from etude.sound.fluidsynth import FLUID, MUSESCORE, Synthesizer
from etude.sound.mastering import Sound
from etude.sound.render import Finish, render
from etude.sound.room import Room

TARGET_LUFS = -16.0

# Below the lowest bass string, 41 Hz; a sound font's DC goes with it.
_RUMBLE_HZ = 25.0

_DRY = 0.2
_DECAY_S, _DELAY_S, _WET_DB = (0.15, 1.3), (0.002, 0.02), (-22.0, -7.0)


@dataclass(frozen=True)
class Production:
    """sound_font: its name in SOUND_FONTS. room: None for none."""

    sound_font: str
    room: Room | None

    @classmethod
    def draw(cls, seed: int) -> Production:
        """A piece's own, always the same."""
        dice = Dice(seed, "production")
        sound_font = dice.pick((FLUID, MUSESCORE))
        if dice.chance(_DRY):
            return cls(sound_font, None)
        # Small rooms are more frequent than halls.
        decay_s = _DECAY_S[0] + (_DECAY_S[1] - _DECAY_S[0]) * dice.uniform(0, 1) ** 2
        return cls(sound_font, Room(decay_s, dice.uniform(*_DELAY_S), dice.uniform(*_WET_DB), dice.integer(0, 2**31)))

    def attributes(self) -> dict[str, object]:
        """What an evaluation wants to know, in JSON's types. reverb_s: 0 where there is none."""
        return {"sound_font": self.sound_font, "reverb_s": round(self.room.decay_s, 3) if self.room else 0.0}


def produce(piece: Piece, production: Production, synthesizers: Mapping[str, Synthesizer]) -> Sound:
    """The piece at 32 kHz, mono, [length_s · 32000] samples of at most 0.9, at `TARGET_LUFS` before its fades.

    synthesizers: by the name of their sound font. A piece that is played exactly stays so: its players have no touch.
    Raises SynthesizerError.
    """
    played = piece if piece.plan.is_exact else with_touches(piece, Dice(piece.plan.seed, "touch"))
    finish = Finish(room=production.room, target_lufs=TARGET_LUFS, rumble_hz=_RUMBLE_HZ)
    return render(played, synthesizers[production.sound_font], finish)
