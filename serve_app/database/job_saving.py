"""Saving checkpoints: under the current token only, each right after the one before; and what must hold of all rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from deployments.messages import GenerationStart
from serve_app.database import job_rows
from serve_app.database.job_queries import parts
from serve_app.database.schema import jobs, variation_codes, variation_starts, variations
from serve_app.job import ENDED, Checkpoint, VariationId


def check_integrity(connection: Connection) -> None:
    """Raises: AssertionError for rows of jobs that contradict each other."""
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


def locked(connection: Connection, wanted: Collection[VariationId]) -> dict[VariationId, Row[Any]]:
    """The variations that exist. Their jobs are locked: nobody else changes them during this transaction."""
    ids = sorted({variation.job_id for variation in wanted})
    # In the same order everywhere, so that no two transactions wait for each other.
    rows = connection.execute(
        select(jobs.c.number, jobs.c.id).where(jobs.c.id.in_(ids)).order_by(jobs.c.number).with_for_update()
    ).all()
    job_ids = {row.number: row.id for row in rows}
    # After locking, because rows read earlier may have changed.
    theirs = connection.execute(select(variations).where(variations.c.job.in_(job_ids)))
    found = {VariationId(job_ids[row.job], row.number): row for row in theirs}
    return {variation: found[variation] for variation in wanted if variation in found}


def save(connection: Connection, batch: Sequence[Checkpoint]) -> set[VariationId]:
    """As `JobTable.save`."""
    rows = locked(connection, {checkpoint.variation for checkpoint in batch})
    ours, fenced = [], set()
    for checkpoint in batch:
        row = rows.get(checkpoint.variation)
        if row is None or row.token != checkpoint.token or row.state != "running":
            fenced.add(checkpoint.variation)
        else:
            ours.append((row, checkpoint))
    if len({row.id for row, _ in ours}) < len(ours):
        raise ValueError("a batch has one checkpoint for each variation")
    changed = [row.job for row, checkpoint in ours if _save(connection, row, checkpoint)]
    touch(connection, changed)
    return fenced


def forget(connection: Connection, variation: int) -> None:
    """Deletes what is saved of a variation, except its seed."""
    for table in (variation_codes, variation_starts):
        connection.execute(delete(table).where(table.c.variation == variation))
    connection.execute(update(variations).where(variations.c.id == variation).values(generation=None, frames=0))


def touch(connection: Connection, numbers: Collection[int]) -> None:
    """Raises the version of these jobs: what clients see has changed."""
    mine = update(jobs).where(jobs.c.number == bindparam("changed")).values(version=jobs.c.version + 1)
    if numbers:
        connection.execute(mine, [{"changed": number} for number in sorted(set(numbers))])


def _save(connection: Connection, row: Row[Any], checkpoint: Checkpoint) -> bool:
    """Returns whether there was anything new."""
    changes: dict[str, Any] = {}
    start = checkpoint.start
    if start is not None and (start.key, start.seed) != (row.generation, row.seed):
        if row.frames:
            raise ValueError("another start than that of the frames which are saved")
        _save_start(connection, row, start)
        changes |= {"generation": start.key, "seed": start.seed}
    if checkpoint.frames is not None:
        if start is None and row.generation is None:
            raise ValueError("frames without the start that they are made with")
        codes = _new_codes(connection, row, checkpoint.frames.first_frame, checkpoint.frames.codes)
        if codes.shape[1]:
            part = job_rows.codes_row(row.frames, codes)
            connection.execute(insert(variation_codes).values(variation=row.id, **part))
            changes["frames"] = row.frames + codes.shape[1]
    if changes:
        connection.execute(update(variations).where(variations.c.id == row.id).values(**changes))
    return bool(changes)


def _save_start(connection: Connection, row: Row[Any], start: GenerationStart) -> None:
    connection.execute(delete(variation_starts).where(variation_starts.c.variation == row.id))
    connection.execute(insert(variation_starts).values(variation=row.id, **job_rows.start_row(start)))


def _new_codes(connection: Connection, row: Row[Any], first_frame: int, codes: np.ndarray) -> np.ndarray:
    """The codes that are not saved yet. Frames are sent again when the answer to the first time was lost."""
    if codes.dtype != np.int16 or codes.ndim != 2:
        raise ValueError(f"codes are int16 [K, n], not {codes.dtype} {list(codes.shape)}")
    end = first_frame + codes.shape[1]
    if first_frame > row.frames or end > row.num_frames:
        raise ValueError(
            f"frames {first_frame} to {end} don't follow the {row.frames} of {row.num_frames} that are saved"
        )
    num_again = min(row.frames, end) - first_frame
    if num_again:
        before = np.concatenate([job_rows.codes(part) for part in parts(connection, row.id)], axis=1)
        if not np.array_equal(before[:, first_frame : first_frame + num_again], codes[:, :num_again]):
            raise ValueError(f"frames {first_frame} to {end} are not those that are saved already")
    return codes[:, num_again:]
