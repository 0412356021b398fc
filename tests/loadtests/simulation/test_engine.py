"""The engine's speed: fitted to what was measured, or assumed, and said which."""

from __future__ import annotations

import pytest

from loadtests.measuring.curve import Curve, Point
from loadtests.simulate import RESULTS
from loadtests.simulation.engine import EngineCurve


def points(curve: EngineCurve) -> list[Point]:
    return [Point("ours", "int8", n, curve.audio_s_per_s(n), 1, 1, "here") for n in (1, 2, 4, 8, 16, 32)]


def test_the_fit_finds_the_two_numbers_again() -> None:
    curve = EngineCurve(0.004, 0.0005)
    fitted = EngineCurve.fit(points(curve))
    assert (fitted.fixed_s, fitted.each_s) == pytest.approx((0.004, 0.0005))
    assert fitted.worst_error(points(curve)) < 1e-9


def test_the_measured_curve_has_this_form_within_5_percent() -> None:
    measured = Curve.read(RESULTS / "tiny-cpu.json").of("ours")
    assert len(measured) >= 5
    assert EngineCurve.fit(measured).worst_error(measured) < 0.05


@pytest.mark.parametrize(("slots", "gain"), [(1, 1), (8, 1), (8, 8), (16, 5.5)])
def test_an_assumed_engine_is_as_fast_as_assumed(slots: int, gain: float) -> None:
    curve = EngineCurve.assumed(slots, 24, gain)
    assert curve.audio_s_per_s(slots) == pytest.approx(24)
    assert curve.audio_s_per_s(1) == pytest.approx(24 / gain)
    assert curve.paces(slots)[1:] * range(1, slots + 1) == pytest.approx(
        [curve.audio_s_per_s(n) for n in range(1, slots + 1)]
    )


@pytest.mark.parametrize("gain", [0.9, 8.1])
def test_a_gain_that_cannot_be_is_refused(gain: float) -> None:
    with pytest.raises(ValueError, match="from 1 to 8"):
        EngineCurve.assumed(8, 24, gain)
