"""What must be true of the rows of jobs, whatever was done to them."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, Row, select

from serve_app.jobs.job import ENDED
from serve_app.records.schema import jobs, variation_codes, variation_starts, variations


def check(connection: Connection) -> None:
    """Raises: AssertionError."""
    starts = set(connection.execute(select(variation_starts.c.variation)).scalars())
    frames: dict[int, int] = defaultdict(int)
    columns = (variation_codes.c.variation, variation_codes.c.first_frame, variation_codes.c.num_frames)
    for part in connection.execute(select(*columns).order_by(*columns)):
        assert part.num_frames > 0, f"variation {part.variation}: codes of no frame"
        assert part.first_frame == frames[part.variation], f"variation {part.variation}: a gap or an overlap of codes"
        frames[part.variation] += part.num_frames
    by_job: dict[int, list[Row[Any]]] = defaultdict(list)
    for each in connection.execute(select(variations).order_by(variations.c.job, variations.c.number)):
        assert each.number == len(by_job[each.job]), f"job {each.job}: a variation is missing"
        by_job[each.job].append(each)
        _check_variation(each, frames[each.id], each.id in starts)
    for job in connection.execute(select(jobs)):
        mine = by_job[job.number]
        assert mine, f"job {job.number}: no variation"
        assert (job.ended_s is not None) == all(each.state in ENDED for each in mine), f"job {job.number}: its end"
        for each in mine:
            assert (each.tenant, each.queue) == (job.tenant, job.queue), f"job {job.number}: two tenants or classes"


def _check_variation(row: Row[Any], frames: int, has_start: bool) -> None:
    what = f"variation {row.id}"
    assert row.frames == frames <= row.num_frames, f"{what}: {frames} frames are saved, {row.frames} counted"
    assert has_start == (row.generation is not None), f"{what}: half a start"
    assert has_start or not frames, f"{what}: codes without a start"
    assert not has_start or row.seed is not None, f"{what}: a start without a seed"
    assert row.state != "succeeded" or frames == row.num_frames, f"{what}: has succeeded without all frames"
    assert (row.state == "failed") == (row.fault_type is not None), f"{what}: a fault or a failure without the other"
    assert (row.state in ENDED) == (row.ended_s is not None), f"{what}: its end"
    assert row.collapsed is None or row.state == "succeeded", f"{what}: a sound that was never made"
    assert (row.collapsed is None) == (row.silent_share is None) == (row.clipped_share is None), f"{what}: half a sound"
    assert (row.flatness is None) == (row.harmonicity is None), f"{what}: half a spectrum"
    assert (row.state == "queued") <= (row.started_s is None), f"{what}: waits and has begun"
