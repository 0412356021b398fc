"""What is asked: descriptions of pieces that were never trained on, and what of each can be heard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from etude.score.describe import Description
from etude.score.instruments import DRUMS
from etude.shards import Clip


@dataclass(frozen=True)
class Prompt:
    """text: as it is asked. The rest is what it says, None where it says nothing of it.

    pitch_classes: of the key. family: of an instrument that plays alone. drums: whether there are any.
    """

    text: str
    tempo_bpm: float | None
    pitch_classes: tuple[int, ...] | None
    family: str | None
    drums: bool | None

    @property
    def facts(self) -> int:
        """How many of these it says."""
        said = (self.tempo_bpm, self.pitch_classes, self.family, self.drums)
        return sum(fact is not None for fact in said)


def prompt_of(clip: Clip) -> Prompt:
    """Of the clip's descriptions the one that says most, the first of several."""
    return max((_prompt(clip, description) for description in clip.descriptions), key=lambda prompt: prompt.facts)


def prompts_of(clips: Iterable[Clip]) -> list[Prompt]:
    """One for each clip."""
    return [prompt_of(clip) for clip in clips]


def _prompt(clip: Clip, said: Description) -> Prompt:
    attributes = clip.attributes
    drums = False if said.says_no_drums else True if DRUMS in said.families else None
    return Prompt(
        text=said.text,
        tempo_bpm=float(attributes["tempo_bpm"]) if said.states_tempo else None,
        pitch_classes=tuple(attributes["key_pitch_classes"]) if said.states_key else None,
        family=said.families[0] if is_solo(clip) and said.families else None,
        drums=drums,
    )


def is_solo(clip: Clip) -> bool:
    """Whether one instrument plays alone."""
    families: Sequence[str] = clip.attributes["families"]
    return len(families) == 1
