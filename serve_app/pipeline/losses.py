"""When a generation is what kills its workers, rather than one who was there when they died."""

from __future__ import annotations

# Machines that vanish at random don't take the same generation with them so often.
MAX_LOSSES = 5


class Losses:
    """The workers that one generation has lost.

    A request that kills does so again at the same place. A bystander gets further: whoever lost a worker goes on alone
    among those who did (`Suspects`), until it has made a frame. So two losses without a frame between them tell, and
    what happened to bystanders on the way does not count against them.
    """

    def __init__(self) -> None:
        self.number = 0
        self._at_frame: int | None = None

    @property
    def suspicious(self) -> bool:
        """Whether no frame has been made since a worker was lost."""
        return self._at_frame is not None

    def lost(self, num_frames: int) -> bool:
        """A worker was lost when so many frames were there. Whether the generation must not be tried again."""
        self.number += 1
        if self._at_frame == num_frames or self.number == MAX_LOSSES:
            return True
        self._at_frame = num_frames
        return False

    def progressed(self) -> None:
        """A frame was made."""
        self._at_frame = None
