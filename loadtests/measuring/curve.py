"""The points of one curve, and the file that holds them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Point:
    """One measurement: `requests` clips at once by `who`.

    latency_s: until all of them are whole. first_sound_s: until the last of them begins to sound; the whole latency for
    who doesn't stream. measured_on: hardware, versions and commit.
    """

    who: str
    dtype: str
    requests: int
    audio_s_per_s: float
    latency_s: float
    first_sound_s: float
    measured_on: str

    @classmethod
    def of(
        cls, who: str, dtype: str, audio_s: float, total_s: float, first_sound_s: float, requests: int, on: str
    ) -> Point:
        """audio_s: of all clips together, made in total_s."""
        speed = round(audio_s / total_s, 3)
        return cls(who, dtype, requests, speed, round(total_s, 4), round(first_sound_s, 4), on)


@dataclass(frozen=True)
class Curve:
    """clip_s: of every clip. floor_s: the memory's time for one, if it only handed over each step's weights."""

    shape: str
    device: str
    clip_s: float
    floor_s: float
    points: tuple[Point, ...]

    def of(self, who: str) -> list[Point]:
        """In the order of requests."""
        return sorted((point for point in self.points if point.who == who), key=lambda point: point.requests)

    def with_points_of(self, newer: Curve) -> Curve:
        """Its points too, which replace those of the same kind. Raises: ValueError for clips of another length."""
        if newer.clip_s != self.clip_s:
            raise ValueError(f"the points kept are of {self.clip_s:g} s clips, the new ones of {newer.clip_s:g} s")
        merged = {(point.who, point.dtype, point.requests): point for point in (*self.points, *newer.points)}
        return replace(newer, points=tuple(sorted(merged.values(), key=lambda point: (point.who, point.requests))))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Curve:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**kept, "points": tuple(Point(**point) for point in kept["points"])})
