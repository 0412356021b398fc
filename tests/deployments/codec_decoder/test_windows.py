from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.codec_decoder.windows import windows

frames = st.integers(0, 2000)
lookaheads = st.integers(0, 20)


def test_the_first_is_small_and_they_grow_until_they_are_steady() -> None:
    cut = list(windows(1500, 4))
    assert cut[:6] == [(0, 8), (8, 17), (17, 27), (27, 38), (38, 50), (50, 64)]
    sizes = [end - start for start, end in cut[:-1]]
    assert sizes == sorted(sizes)
    assert sizes[-10:] == [50] * 10


@given(num_frames=frames, lookahead=lookaheads, first=st.integers(1, 60), growth=st.integers(0, 60))
def test_every_frame_is_in_one_window(num_frames: int, lookahead: int, first: int, growth: int) -> None:
    cut = list(windows(num_frames, lookahead, first_frames=first, steady_frames=first + growth))
    assert [frame for window in cut for frame in range(*window)] == list(range(num_frames))
    assert all(start < end for start, end in cut)


@given(num_frames=frames, lookahead=lookaheads)
def test_every_window_but_the_last_has_the_frames_that_it_looks_ahead_to(num_frames: int, lookahead: int) -> None:
    assert all(end + lookahead <= num_frames for _, end in list(windows(num_frames, lookahead))[:-1])


@given(num_frames=st.integers(1, 2000), more=st.integers(0, 500), lookahead=lookaheads)
def test_a_longer_clip_is_cut_alike_up_to_the_end_of_the_shorter(num_frames: int, more: int, lookahead: int) -> None:
    short, long = list(windows(num_frames, lookahead)), list(windows(num_frames + more, lookahead))
    assert long[: len(short) - 1] == short[:-1]


@given(num_frames=frames, speed=st.fractions(0, Fraction(8, 9)))
def test_a_listener_who_starts_at_once_never_waits_at_eight_ninths_of_real_time(
    num_frames: int, speed: Fraction
) -> None:
    """speed: the time a frame takes to be made, in frames."""
    cut = list(windows(num_frames, 4))
    made_at = [speed * min(end + 4, num_frames) for _, end in cut]
    for (start, _), made in list(zip(cut, made_at, strict=True))[1:]:
        assert made <= made_at[0] + start


@pytest.mark.parametrize(("first", "steady"), [(0, 8), (-1, 8), (9, 8)])
def test_windows_that_would_shrink_or_be_empty_are_refused(first: int, steady: int) -> None:
    with pytest.raises(ValueError, match=f"first_frames={first}, steady_frames={steady}"):
        next(windows(10, 4, first_frames=first, steady_frames=steady))
