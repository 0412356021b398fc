"""What a listener hears who plays a stream while it comes in."""

from __future__ import annotations


class Playback:
    """Begins with the first samples, and goes on wherever it had to wait. All seconds are since the request.

    first_audio_s: when it began; None before. longest_gap_s: the longest time in which it had nothing to play.
    """

    def __init__(self) -> None:
        self.first_audio_s: float | None = None
        self.longest_gap_s = 0.0
        self._runs_dry_s = 0.0
        self._heard_s = 0.0

    def arrived(self, at_s: float, heard_s: float) -> None:
        """Told whenever something comes. heard_s: how much sound is there by then."""
        if heard_s <= self._heard_s:
            return
        if self.first_audio_s is None:
            self.first_audio_s = self._runs_dry_s = at_s
        gap_s = max(0.0, at_s - self._runs_dry_s)
        self.longest_gap_s = max(self.longest_gap_s, gap_s)
        self._runs_dry_s += gap_s + heard_s - self._heard_s
        self._heard_s = heard_s
