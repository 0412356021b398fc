from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.score.clock import Clock
from etude.score.form import Form
from tests.etude.score.properties import tried


@tried
@given(num_bars=st.integers(1, 60))
def test_phrases_add_up_and_none_is_a_leftover_bar(num_bars: int) -> None:
    form = Form.of(num_bars, 4, has_final_chord=False)
    assert form.num_bars == num_bars
    assert all(2 <= bars <= 4 for bars in form.phrases) or num_bars == 1
    bars = list(form.bars())
    assert [bar for bar, _, _ in bars] == list(range(num_bars))
    assert all(place < of for _, place, of in bars)
    assert [form.phrase_of(bar) for bar, _, _ in bars] == sorted(form.phrase_of(bar) for bar, _, _ in bars)
    assert form.phrase_of(num_bars) == len(form.phrases) - 1


def test_a_beat_takes_as_long_as_the_tempo_says() -> None:
    clock = Clock(beat_s=0.5, lead_in_s=0.25)
    assert [clock.seconds(beat) for beat in (0, 1, 2.5)] == [0.25, 0.75, 1.5]


@tried
@given(
    beat=st.floats(0, 64),
    later=st.floats(0.01, 4),
    swing=st.floats(0.5, 0.7),
    swing_beats=st.sampled_from([0.5, 1.0]),
    slows=st.booleans(),
)
def test_time_goes_forward(beat: float, later: float, swing: float, swing_beats: float, slows: bool) -> None:
    clock = Clock(0.6, 0.0, swing, swing_beats, 30.0 if slows else None, 34.0, 1.3)
    assert clock.seconds(beat) < clock.seconds(beat + later)


def test_swing_moves_the_offbeat_alone() -> None:
    clock = Clock(1.0, swing=2 / 3)
    assert [clock.seconds(beat) for beat in (0, 0.5, 1, 1.5)] == pytest.approx([0, 2 / 3, 1, 5 / 3])
    assert Clock(1.0, swing=0.6, swing_beats=0.5).seconds(0.25) == pytest.approx(0.3)


def test_slowing_down_is_the_sum_of_ever_longer_beats() -> None:
    clock = Clock(1.0, slows_from_beat=4.0, slow_beat=8.0, slowness=1.5)
    steps = 40_000
    slow_way = sum(1 + 0.5 * (step + 0.5) / steps for step in range(steps)) * 4 / steps
    assert clock.seconds(4) == 4
    assert clock.seconds(8) == pytest.approx(4 + slow_way)
    assert clock.seconds(10) - clock.seconds(8) == pytest.approx(2 * 1.5)
