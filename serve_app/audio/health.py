"""How a clip sounds, in a few numbers that tell music from what a model makes when it goes wrong."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SoundHealth:
    """Of one clip; shares are from 0 to 1. flatness and harmonicity are None where no frame sounds.

    silent_share: of the frames, those whose root mean square is 60 dB or more below full scale.
    clipped_share: of the samples, those at full scale in runs of three or more.
    flatness: spectral flatness, the geometric over the arithmetic mean of a frame's power spectrum (Johnston 1988; Hann
    window, neither 0 Hz nor the highest), mean of the frames that sound; a tone has 0, white noise 0.56, which is e to
    minus Euler's constant.
    harmonicity: the highest peak of a frame's autocorrelation between 60 Hz and 1000 Hz, over that at lag 0, each
    over the window's own (Boersma 1993), mean of the frames that sound; a tone has 1, noise little.
    collapsed: it is silent all through; or its last quarter at least, and no less than a second, is nothing but silent
    frames and frames that repeat the one before, its last two aside.
    """

    silent_share: float
    clipped_share: float
    flatness: float | None
    harmonicity: float | None
    collapsed: bool
