"""What a description says, as numbers to be told from its words alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from etude.score.describe import Description, describe
from etude.score.exact import BEATS, exactly
from etude.score.genres import GENRES
from etude.score.instruments import FAMILIES
from etude.score.moods import MOODS
from etude.score.plan import EXERCISE, Plan
from etude.score.planner import draw_plan

_GENRES = (*GENRES, EXERCISE)
_MOODS = tuple(MOODS)

# A neighbouring tempo is nearly right: one that is off by this share is 0.6 times as likely as the one that was said.
_TEMPO_SPREAD = 0.03


@dataclass(frozen=True)
class Facts:
    """Of B texts. What is not said is class 0 of tempo and tonic, and 0 elsewhere.

    tempo: [B, 1 + beats], a distribution over the frames of a beat. tonic: [B], 1 for C. scale: [B, 12], 1 for pitch
    classes of the key. families: [B, families], of the instruments named. no_drums: [B]. genre, mood: [B], also where
    they are not said, since other words make them likely.
    """

    tempo: Tensor
    tonic: Tensor
    scale: Tensor
    families: Tensor
    no_drums: Tensor
    genre: Tensor
    mood: Tensor

    @property
    def beats(self) -> Tensor:
        """[B, beats], 1 for the one that is said."""
        return F.one_hot(self.tempo.argmax(1), 1 + len(BEATS))[:, 1:].to(self.tempo.dtype)

    def of(self, places: Tensor) -> Facts:
        """Those of some of the texts."""
        return Facts(**{name: values[places] for name, values in vars(self).items()})


# How many numbers each is told by.
WIDTHS = {
    "tempo": 1 + len(BEATS),
    "tonic": 13,
    "scale": 12,
    "families": len(FAMILIES),
    "no_drums": 1,
    "genre": len(_GENRES),
    "mood": len(_MOODS),
}


def describe_seeds(seeds: Sequence[int]) -> tuple[list[str], Facts]:
    """A description of each seed's plan, played exactly, and what it says."""
    plans = [exactly(draw_plan(seed)) for seed in seeds]
    said = [describe(plan, variant=0) for plan in plans]
    return [each.text for each in said], facts_of(plans, said)


def facts_of(plans: Sequence[Plan], said: Sequence[Description]) -> Facts:
    """plans: played exactly. said: a description of each."""
    pairs = list(zip(plans, said, strict=True))
    return Facts(
        tempo=torch.stack([_tempo(plan if each.states_tempo else None) for plan, each in pairs]),
        tonic=torch.tensor([plan.key.pitch_classes[0] + 1 if each.states_key else 0 for plan, each in pairs]),
        scale=torch.tensor(
            [[float(each.states_key and pc in plan.key.pitch_classes) for pc in range(12)] for plan, each in pairs]
        ),
        families=torch.tensor([[float(family in each.families) for family in FAMILIES] for each in said]),
        no_drums=torch.tensor([[float(each.says_no_drums)] for each in said]),
        genre=torch.tensor([_GENRES.index(plan.genre) for plan in plans]),
        mood=torch.tensor([_MOODS.index(plan.mood) for plan in plans]),
    )


def _tempo(plan: Plan | None) -> Tensor:
    odds = torch.zeros(1 + len(BEATS))
    if plan is None:
        odds[0] = 1.0
    else:
        off = torch.tensor(list(BEATS)).log() - torch.tensor(plan.frames_per_beat or 1).log()
        odds[1:] = (-0.5 * (off / _TEMPO_SPREAD).square()).softmax(0)
    return odds
