"""What is told of clips that were made."""

from __future__ import annotations

from serve_app.job import SoundHealth


class SoundsMade:
    """A `SoundRecorder`. told: model, duration and health of each clip, in the order of their ends."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float, SoundHealth]] = []

    def sound_made(self, model: str, duration_s: float, health: SoundHealth) -> None:
        self.told.append((model, duration_s, health))
