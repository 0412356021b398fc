"""When a player would have had nothing to play."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.bench_streaming import Arrivals
from loadtests.load.user_tasks import Playback


def played(*arrivals: tuple[float, float]) -> Playback:
    playback = Playback()
    for at_s, available_s in arrivals:
        playback.arrived(at_s, available_s)
    return playback


def test_there_is_no_gap_while_sound_comes_in_time() -> None:
    playback = played((0.3, 0.2), (0.5, 1.0), (1.2, 2.0))
    assert playback.first_audio_s == 0.3
    assert playback.longest_gap_s == 0


def test_a_gap_is_how_long_the_player_stood_and_what_was_lost_is_not_caught_up() -> None:
    assert played((1.0, 0.5), (2.0, 1.0)).longest_gap_s == pytest.approx(0.5)
    assert played((1.0, 0.5), (2.0, 1.0), (2.4, 3.0)).longest_gap_s == pytest.approx(0.5)
    assert played((1.0, 0.5), (2.0, 1.0), (4.0, 3.0)).longest_gap_s == pytest.approx(1.5)


def test_the_head_of_a_file_is_no_sound() -> None:
    playback = played((0.1, 0.0), (0.4, 0.0), (0.5, 0.2))
    assert playback.first_audio_s == 0.5
    assert playback.longest_gap_s == 0
    assert played((0.1, 0.0)).first_audio_s is None


@given(st.lists(st.tuples(st.floats(0.001, 5), st.floats(0.001, 5)), min_size=1, max_size=12))
def test_gaps_are_those_that_the_streaming_benchmark_finds(steps: list[tuple[float, float]]) -> None:
    at_s, available_s, arrivals = 0.0, 0.0, list[tuple[float, float]]()
    for wait_s, sound_s in steps:
        at_s, available_s = at_s + wait_s, available_s + sound_s
        arrivals.append((at_s, available_s))
    times_s, heards_s = zip(*arrivals, strict=True)
    assert played(*arrivals).longest_gap_s == pytest.approx(Arrivals(times_s, heards_s, b"").max_gap_s)
