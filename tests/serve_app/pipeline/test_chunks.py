"""Frames are told when a window of sound is there, and more often where windows are large."""

from __future__ import annotations

import itertools

import pytest

from deployments.codec_decoder.windows import windows
from serve_app.pipeline.workers import MAX_CHUNK_FRAMES, chunk_ends

LOOKAHEAD = 4


def sizes(ends: list[int]) -> list[int]:
    return [end - start for start, end in itertools.pairwise(ends)]


@pytest.mark.parametrize("num_frames", [1, 5, 8, 12, 13, 25, 26, 100, 499, 500, 501, 1500])
def test_chunks_end_with_windows_and_are_small_and_no_more_than_it_takes(num_frames: int) -> None:
    ends = list(chunk_ends(num_frames, LOOKAHEAD))
    needed = sorted({min(end + LOOKAHEAD, num_frames) for _, end in windows(num_frames, LOOKAHEAD)})
    assert set(needed) <= set(ends)
    assert ends == sorted(set(ends))
    assert ends[-1] == num_frames
    assert max(sizes([0, *ends])) <= MAX_CHUNK_FRAMES
    assert len(ends) == sum(
        1 + (size > MAX_CHUNK_FRAMES) + (size > 2 * MAX_CHUNK_FRAMES) for size in sizes([0, *needed])
    )


def test_a_longer_clip_is_reported_at_the_same_frames() -> None:
    short, long = set(chunk_ends(700, LOOKAHEAD)), set(chunk_ends(1500, LOOKAHEAD))
    whole = {end + LOOKAHEAD for _, end in windows(1500, LOOKAHEAD)}
    last_common = max(end for end in short & whole if end < 700)
    assert {end for end in short if end <= last_common} == {end for end in long if end <= last_common}
