"""Points are measured, kept, replaced by newer ones of their kind, and drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtests.measuring.curve import Curve, Point
from loadtests.measuring.curves import main
from loadtests.measuring.plot import plot

PNG = b"\x89PNG\r\n\x1a\n"


def curve(*speeds: float, clip_s: float = 10) -> Curve:
    """Of one and two requests, and so on."""
    points = [Point.of("ours", "int8", 20.0, 20 / speed, 0.1, i + 1, "here") for i, speed in enumerate(speeds)]
    return Curve("tiny", "cpu", clip_s, 0.5, tuple(points))


def test_two_points_measured_apart_are_kept_together_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for requests in ("1", "2"):
        main(["--shape", "tiny", "--frames", "16", "--requests", requests, "--results", str(tmp_path)])
        measured = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert [(point["who"], point["requests"]) for point in measured["points"]] == [
            ("ours", int(requests)),
            ("transformers", int(requests)),
        ]
    kept = Curve.read(tmp_path / "tiny-cpu.json")
    for who in ("ours", "transformers"):
        assert [point.requests for point in kept.of(who)] == [1, 2]
        for point in kept.of(who):
            assert point.audio_s_per_s == pytest.approx(point.requests * 0.32 / point.latency_s, rel=0.01)
            assert 0 < point.first_sound_s <= point.latency_s
    assert (tmp_path / "tiny-cpu.png").read_bytes().startswith(PNG)


def test_a_point_measured_again_replaces_the_one_before() -> None:
    merged = curve(1, 2, 3).with_points_of(curve(5, 6))
    assert [point.audio_s_per_s for point in merged.of("ours")] == [5, 6, 3]


def test_points_of_clips_of_another_length_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="points kept are of 10 s clips, the new ones of 5 s"):
        curve(1).with_points_of(curve(1, clip_s=5))


def test_a_curve_is_read_as_it_was_written(tmp_path: Path) -> None:
    curve(1, 2).write(tmp_path / "curve.json")
    assert Curve.read(tmp_path / "curve.json") == curve(1, 2)


def test_a_curve_without_a_peer_is_drawn_small_enough_to_keep(tmp_path: Path) -> None:
    plot(curve(1, 2, 3), tmp_path / "curve.png")
    assert 10_000 < (tmp_path / "curve.png").stat().st_size < 150_000
