from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deployments.language_model.engine.request import UNKNOWN, apply_delay, delays_of, num_steps, undo_delay


def test_the_delays_of_mono_and_stereo_are_musicgens() -> None:
    assert delays_of(4, channels=1) == (0, 1, 2, 3)
    assert delays_of(8, channels=2) == (0, 0, 1, 1, 2, 2, 3, 3)


def test_the_pattern_of_five_frames_written_out() -> None:
    codes = np.arange(1, 21).reshape(4, 5)
    columns = apply_delay(codes, (0, 1, 2, 3), num_steps(5, (0, 1, 2, 3)), pad_token=99)
    unknown = UNKNOWN
    assert columns.tolist() == [
        [1, 2, 3, 4, 5, unknown, unknown, unknown],
        [99, 6, 7, 8, 9, 10, unknown, unknown],
        [99, 99, 11, 12, 13, 14, 15, unknown],
        [99, 99, 99, 16, 17, 18, 19, 20],
    ]


@given(st.integers(1, 30), st.sampled_from([(0, 1, 2, 3), (0, 0, 1, 1, 2, 2, 3, 3), (0,)]), st.data())
def test_undoing_the_delay_gives_any_range_of_frames_back(
    num_frames: int, delays: tuple[int, ...], data: st.DataObject
) -> None:
    codes = np.random.default_rng(num_frames).integers(0, 2048, (len(delays), num_frames)).astype(np.int16)
    columns = apply_delay(codes, delays, num_steps(num_frames, delays), pad_token=2048)
    first = data.draw(st.integers(0, num_frames - 1))
    end = data.draw(st.integers(first + 1, num_frames))
    np.testing.assert_array_equal(undo_delay(columns, delays, first, end), codes[:, first:end])
