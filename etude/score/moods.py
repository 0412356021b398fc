"""Moods: the words for them, and the music each allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from etude.score.key import Mode

Density = Literal["sparse", "medium", "dense"]


@dataclass(frozen=True)
class Mood:
    """words: adjectives for it. slowest, fastest: in beats a minute.

    loudness: how hard the parts are played, 0 to 1. densities: how busy they may be.
    """

    words: tuple[str, ...]
    modes: tuple[Mode, ...]
    slowest: int
    fastest: int
    loudness: float
    densities: tuple[Density, ...]


MOODS = {
    "calm": Mood(
        ("calm", "soothing", "relaxing", "peaceful", "gentle"), ("major", "minor"), 60, 104, 0.50, ("sparse", "medium")
    ),
    "dreamy": Mood(("dreamy", "ethereal", "airy"), ("major", "minor"), 60, 112, 0.50, ("sparse", "medium")),
    "romantic": Mood(("romantic", "tender", "sweet"), ("major", "minor"), 60, 116, 0.58, ("sparse", "medium")),
    "sad": Mood(("sad", "melancholic", "wistful"), ("minor", "blues"), 60, 100, 0.55, ("sparse", "medium")),
    "mellow": Mood(("mellow", "smooth", "chill"), ("major", "minor", "blues"), 60, 116, 0.58, ("sparse", "medium")),
    "dark": Mood(("dark", "mysterious", "haunting"), ("minor",), 60, 140, 0.68, ("sparse", "medium", "dense")),
    "groovy": Mood(("groovy", "cool"), ("major", "minor", "blues"), 84, 136, 0.74, ("medium", "dense")),
    "playful": Mood(("playful", "light", "catchy"), ("major", "blues"), 96, 180, 0.66, ("medium", "dense")),
    "happy": Mood(("happy", "joyful", "bright", "cheerful"), ("major",), 100, 180, 0.76, ("medium", "dense")),
    "uplifting": Mood(("uplifting", "hopeful"), ("major",), 96, 150, 0.76, ("medium", "dense")),
    "energetic": Mood(
        ("energetic", "driving", "lively"), ("major", "minor", "blues"), 112, 180, 0.88, ("medium", "dense")
    ),
    "solemn": Mood(("solemn", "majestic"), ("major", "minor"), 60, 108, 0.72, ("sparse", "medium")),
}
