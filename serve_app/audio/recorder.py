"""Who is told how the clips sound that are made."""

from __future__ import annotations

from typing import Protocol

from serve_app.audio.health import SoundHealth


class SoundRecorder(Protocol):
    """Told once of each clip that was made, in whichever process: what was kept or is another's is no clip made."""

    def sound_made(self, model: str, duration_s: float, health: SoundHealth) -> None:
        """duration_s: of its sound. On an event loop: it neither waits nor raises."""
        ...


class Unrecorded:
    """Passes over all of it."""

    def sound_made(self, model: str, duration_s: float, health: SoundHealth) -> None:
        del model, duration_s, health


UNRECORDED = Unrecorded()
