"""Whether what was asked for is heard: each share beside what sounds of other prompts reach, which is chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np

from etude.evaluation.classifier import Classifier
from etude.evaluation.impression import Impression
from etude.evaluation.pitch import share_in_key
from etude.evaluation.prompts import Prompt
from etude.evaluation.tempo import agrees

Fact = TypeVar("Fact")

WITH_DRUMS, WITHOUT_DRUMS = "drums", "no drums"


@dataclass(frozen=True)
class Share:
    """right: the mean over prompts of how right their sounds are, 0 to 1. chance: over all other prompts' sounds.
    prompts: how many say anything of it; without any the others are None.
    """

    right: float | None
    chance: float | None
    prompts: int


@dataclass(frozen=True)
class Following:
    """tempo: within the tolerance. key: share of pitched energy in the key. family: named rightly where one plays
    alone. family_through_codec: the same by a judge who knows how the codec sounds. drums: told rightly to be there, or
    not, by another who does.
    """

    tempo: Share
    key: Share
    family: Share
    family_through_codec: Share
    drums: Share

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Judges:
    """Of timbres. family: learned from rendered pieces. The others: from these, and from what the codec makes of them,
    so that they tell what plays and not how it is coded. drums: says WITH_DRUMS or WITHOUT_DRUMS.
    """

    family: Classifier
    family_through_codec: Classifier
    drums: Classifier


def follow(prompts: Sequence[Prompt], heard: Sequence[Impression], judges: Judges) -> Following:
    """heard: a sound for each prompt, in order."""
    timbres = np.array([impression.timbre for impression in heard])
    named, named_through_codec = judges.family.name(timbres), judges.family_through_codec.name(timbres)
    drums = judges.drums.name(timbres)
    families = [each.family for each in prompts]
    return Following(
        tempo=_share([each.tempo_bpm for each in prompts], lambda bpm, i: agrees(heard[i].tempo_bpm, bpm)),
        key=_share([each.pitch_classes for each in prompts], lambda key, i: share_in_key(heard[i].chroma, key)),
        family=_share(families, lambda family, i: named[i] == family),
        family_through_codec=_share(families, lambda family, i: named_through_codec[i] == family),
        drums=_share([each.drums for each in prompts], lambda are_there, i: (drums[i] == WITH_DRUMS) == are_there),
    )


def _share(facts: Sequence[Fact | None], rightness: Callable[[Fact, int], float]) -> Share:
    """Chance is exact: every fact against every other prompt's sound that has such a fact of its own."""
    told = [(i, fact) for i, fact in enumerate(facts) if fact is not None]
    if not told:
        return Share(None, None, 0)
    right = float(np.mean([rightness(fact, i) for i, fact in told]))
    others = [rightness(fact, j) for i, fact in told for j, _ in told if i != j]
    return Share(right, float(np.mean(others)) if others else None, len(told))
