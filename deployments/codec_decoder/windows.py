"""How a clip is counted in milliseconds, frames and samples, and cut into windows that are decoded in one run each.

Integers throughout: no clip is a sample short because of a float.
"""

from __future__ import annotations

from collections.abc import Iterator

FIRST_FRAMES = 8
STEADY_FRAMES = 50
# Each window is longer than what it starts at by an eighth: a client that plays from the first window on has no gap as
# long as generation runs at 8/9 of real time or faster.
GROWTH_PERIOD = 8


def windows(
    num_frames: int, lookahead: int, *, first_frames: int = FIRST_FRAMES, steady_frames: int = STEADY_FRAMES
) -> Iterator[tuple[int, int]]:
    """The frames [start, end) of one window after another of a clip of `num_frames`.

    A small first window lets sound begin early, larger ones then waste less on their context. They grow so that
    end ≤ first_frames + start · 9/8: a client that plays window n while n + 1 is made has that much sound, so that
    generation at 8/9 of real time or faster leaves no gap. The cuts before the last depend on the frame number alone,
    never on the clip's length or on how codes arrive: that is what makes a stream repeat byte for byte.

    Args:
        lookahead: frames that have to be known beyond a window's end; the clip's last window takes those that are left.

    Raises:
        ValueError: Unless 1 <= first_frames <= steady_frames.
    """
    if not 1 <= first_frames <= steady_frames:
        raise ValueError(f"windows must not shrink: first_frames={first_frames}, steady_frames={steady_frames}")
    start = 0
    while start < num_frames:
        end = start + min(first_frames + start // GROWTH_PERIOD, steady_frames)
        if end + lookahead > num_frames:
            end = num_frames
        yield start, end
        start = end


def num_frames(duration_ms: int, frame_rate: int) -> int:
    """The fewest frames that cover the duration: ceil(duration · frame_rate)."""
    return -(-duration_ms * frame_rate // 1000)


def num_samples(duration_ms: int, sample_rate: int) -> int:
    """The sample nearest to the duration's end (half up); never more than the frames hold."""
    return (2 * duration_ms * sample_rate + 1000) // 2000
