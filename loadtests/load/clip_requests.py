"""The clips that users request, drawn from a seed, so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

NUM_POPULAR = 40
ZIPF_EXPONENT = 1.0

_MOODS = ("calm", "bright", "slow", "restless", "warm", "solemn", "playful", "distant")
_PLAYERS = ("piano", "string quartet", "brass band", "harp", "jazz trio", "choir", "lo-fi beat", "accordion")
_PLACES = ("by the water", "at dawn", "in an empty hall", "on a rainy evening", "over a night drive", "in the snow")


@dataclass(frozen=True)
class ClipRequest:
    """One clip. cache: `use` for a popular clip, `refresh` for one that has to be made, and is then cached."""

    prompt: str
    seed: int
    duration_ms: int
    cache: Literal["use", "refresh"]

    @property
    def body(self) -> Mapping[str, object]:
        """As POST /v1/music takes it."""
        return {
            "prompt": self.prompt,
            "seed": self.seed,
            "music_length_ms": self.duration_ms,
            "cache": self.cache,
        }


class ClipRequests:
    """One user's requests, in an order that its name and the run's seed decide. lengths_ms: all equally likely."""

    def __init__(self, seed: int, user: str, lengths_ms: Sequence[int]) -> None:
        self._chance = random.Random(f"{seed}/{user}")  # noqa: S311 - load, not secrets
        self._user = user
        self._lengths_ms = lengths_ms
        self._num_unique = 0

    def unique(self) -> ClipRequest:
        """A request whose prompt no other request has."""
        self._num_unique += 1
        scene = " ".join(self._chance.choice(words) for words in (_MOODS, _PLAYERS, _PLACES))
        prompt = f"{scene}, take {self._num_unique} of {self._user}"
        return ClipRequest(prompt, self._chance.randrange(2**32), self._chance.choice(self._lengths_ms), "refresh")

    def popular(self) -> ClipRequest:
        """One of NUM_POPULAR, the same for all users: the n-th is requested 1/n as often as the first (Zipf)."""
        [rank] = self._chance.choices(range(NUM_POPULAR), zipf_weights())
        return ClipRequest(popular_prompt(rank), rank, self._chance.choice(self._lengths_ms), "use")


def zipf_weights() -> Sequence[float]:
    """How often each popular prompt is requested, compared with the first."""
    return [1 / (rank + 1) ** ZIPF_EXPONENT for rank in range(NUM_POPULAR)]


def popular_prompt(rank: int) -> str:
    """The prompt of a rank from 0; no two have the same."""
    mood, rest = rank % len(_MOODS), rank // len(_MOODS)
    return f"{_MOODS[mood]} {_PLAYERS[rest % len(_PLAYERS)]} {_PLACES[rank % len(_PLACES)]}"
