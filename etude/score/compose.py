"""From a plan to a piece: harmony first, then everybody's part, then the performance."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice

from etude.score import bass, comping, drums, exercise, melody
from etude.score.clock import SLOWNESS, Clock
from etude.score.dice import Dice
from etude.score.exact import exactly
from etude.score.form import Form
from etude.score.harmony import Harmony
from etude.score.instruments import Instrument
from etude.score.note import Note, PlayedNote
from etude.score.performance import merge, play
from etude.score.piece import Piece, Track
from etude.score.plan import Level, Part, Plan
from etude.score.planner import draw_plan

# Who comes first in a piece that builds up.
_ENTRANCES = ("pad", "bass", "chords", "drums", "melody")


@dataclass(frozen=True)
class Score:
    """A piece as it is written: a list of notes for every part of the plan, in its order."""

    plan: Plan
    form: Form
    harmony: Harmony
    parts: tuple[tuple[Part, tuple[Note, ...]], ...]


def compose(seed: int, *, level: Level = "all", length_s: float | None = None, exact: bool = False) -> Piece:
    """The piece of a seed, always the same. exact: played so (`exact.py`).

    Raises ValueError for a length too short for music.
    """
    if length_s is not None and length_s < 1:
        raise ValueError(f"a piece lasts at least a second, not {length_s:g}")
    plan = draw_plan(seed, level, length_s)
    return perform(write(exactly(plan) if exact else plan))


def write(plan: Plan) -> Score:
    """Everybody's part."""
    form = Form.of(plan.num_bars, plan.beats_per_bar, has_final_chord=plan.ending == "cadence")
    harmony = Harmony.lay_out(_bars(plan, form), plan.key, plan.beats_per_bar)
    parts = []
    for place, part in enumerate(plan.parts):
        notes = _write_part(part, plan, form, harmony, Dice(plan.seed, f"{place} {part.role}"))
        entrance = _entrance_beat(part, plan)
        parts.append((part, tuple(note for note in notes if note.start_beat >= entrance)))
    return Score(plan, form, harmony, tuple(parts))


def perform(score: Score) -> Piece:
    """The score as it is played."""
    plan, form = score.plan, score.form
    clock = _clock(plan, form)
    played: dict[str, list[list[PlayedNote]]] = {name: [] for name in plan.instruments}
    for place, (part, notes) in enumerate(score.parts):
        dice = Dice(plan.seed, f"{place} {part.role} performance")
        played[part.instrument].append(play(part.role, part.player, list(notes), plan, form, clock, dice))
    return Piece(plan, tuple(Track(name, merge(parts)) for name, parts in played.items()))


def _bars(plan: Plan, form: Form) -> list[str]:
    progression = plan.progression.split()
    bars = list(islice(cycle(progression), form.num_bars))
    if form.has_final_chord:
        symbols = plan.progression.replace("|", " ").split()
        tonic = next(symbol for symbol in symbols if symbol.lower().rstrip("0123456789adjm") == "i")
        if plan.style is not None and plan.style.dominant_cadence and len(bars) > 1:
            bars[-1] = "V7"
        bars.append(tonic)
    return bars


def _clock(plan: Plan, form: Form) -> Clock:
    return Clock(
        plan.beat_s,
        plan.lead_in_s,
        plan.swing,
        plan.swing_beats,
        slows_from_beat=form.final_beat - plan.beats_per_bar if plan.slows else None,
        slow_beat=form.final_beat,
        slowness=SLOWNESS,
    )


def _entrance_beat(part: Part, plan: Plan) -> int:
    """In a piece that builds up, one part more comes in with every bar."""
    if plan.opening != "building":
        return 0
    order = sorted({_ENTRANCES.index(p.role) for p in plan.parts})
    return order.index(_ENTRANCES.index(part.role)) * plan.beats_per_bar


def _write_part(part: Part, plan: Plan, form: Form, harmony: Harmony, dice: Dice) -> list[Note]:
    player = part.player
    if part.role == "exercise":
        return exercise.write(part.style, harmony, form.num_bars * form.beats_per_bar, plan.key, player, dice)
    if part.role == "drums":
        return drums.write(part.style, form, plan.density, dice)
    if part.role == "bass":
        return bass.write(part.style, harmony, form, plan.key, player, dice)
    other = plan.part("chords" if part.role == "melody" else "melody")
    shared = other is not None and other.instrument == part.instrument
    if part.role == "melody":
        window = _window(player, 3, 18) if shared else _window(player, -3, 15)
        return melody.write(part.style, harmony, form, plan.key, window, plan.density, dice, pentatonic=plan.pentatonic)
    window = _window(player, -14, 4) if shared else _window(player, -12, 5)
    with_bass = plan.part("bass") is not None
    return comping.write(part.style, harmony, form, window, player, dice, with_bass=with_bass)


def _window(player: Instrument, below: int, above: int) -> tuple[int, int]:
    """Pitches round an instrument's centre, as far as it has them."""
    return max(player.low, player.centre + below), min(player.high, player.centre + above)
