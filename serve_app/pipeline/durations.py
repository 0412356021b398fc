"""Milliseconds, frames and samples. Integers throughout: no clip is a sample short because of a float."""

from __future__ import annotations


def num_frames(duration_ms: int, frame_rate: int) -> int:
    """The fewest frames that cover the duration: ceil(duration · frame_rate)."""
    return -(-duration_ms * frame_rate // 1000)


def num_samples(duration_ms: int, sample_rate: int) -> int:
    """The sample nearest to the duration's end (half up); never more than the frames hold."""
    return (2 * duration_ms * sample_rate + 1000) // 2000
