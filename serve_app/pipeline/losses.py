"""When a generation is what kills its workers, rather than one who was there when they died."""

from __future__ import annotations

# Machines that vanish at random don't take the same generation with them so often.
MAX_LOSSES = 5
# A worker that is killed has made more than it told of: up to a window, and what was on its way.
MARGIN_FRAMES = 100


class Losses:
    """The workers that one generation has lost.

    A request that kills does so again at the same place, give or take MARGIN_FRAMES. A bystander gets further: whoever
    lost a worker goes on alone among those who did (`Suspects`), until it is well beyond that place. So two losses at
    one place tell, and what happened to bystanders on the way does not count against them.
    """

    def __init__(self) -> None:
        self.number = 0
        self._at_frame: int | None = None

    @property
    def suspicious(self) -> bool:
        """Whether the place where a worker was lost is not well behind yet."""
        return self._at_frame is not None

    def lost(self, num_frames: int) -> bool:
        """A worker was lost when so many frames were there. Whether the generation must not be tried again."""
        self.reached(num_frames)
        again = self._at_frame is not None
        self.number += 1
        self._at_frame = num_frames
        return again or self.number == MAX_LOSSES

    def reached(self, num_frames: int) -> None:
        """So many frames are there."""
        if self._at_frame is not None and num_frames > self._at_frame + MARGIN_FRAMES:
            self._at_frame = None
