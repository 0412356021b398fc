"""Jobs and their variations as rows of the tables, and back."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from sqlalchemy import Row

from deployments.messages import EngineIdentity, GenerationStart, MusicRequest, Resumption, Sampling
from serve_app.job import Fault, Job, SoundHealth, Submission, Variation

# Little-endian on every machine.
_CODE = np.dtype("<i2")
# The columns of a variation that hold its sound's health.
HEALTH = tuple(field.name for field in fields(SoundHealth))


def job_row(submission: Submission, job_id: str, created_s: float) -> dict[str, Any]:
    """The row of a new job, without its number."""
    request = submission.request
    return {
        "id": job_id,
        "tenant": submission.tenant,
        "key_id": submission.key_id,
        "queue": submission.request.queue,
        "request_id": request.request_id,
        "model": request.model,
        "prompt": request.prompt,
        "duration_ms": request.duration_ms,
        "sampling": asdict(request.sampling),
        "cache": request.cache,
        "scope": request.scope,
        "body_digest": submission.body_digest,
        "idempotency_key": submission.idempotency_key,
        "created_s": created_s,
        "version": 0,
    }


def variation_rows(submission: Submission, job_number: int) -> list[dict[str, Any]]:
    """The rows of a new job's variations, due at once."""
    return [
        {
            "job": job_number,
            "number": number,
            "tenant": submission.tenant,
            "queue": submission.request.queue,
            "state": "queued",
            "seed": seed,
            "frames": 0,
            "num_frames": submission.num_frames,
            "token": 0,
            "attempts": 0,
            "due_era": "",
            "due_s": 0.0,
        }
        for number, seed in enumerate(submission.seeds)
    ]


def job(row: Row[Any], variations: Sequence[Row[Any]], position: int | None) -> Job:
    """The job of a row. variations: its rows, in their order."""
    return Job(
        id=row.id,
        tenant=row.tenant,
        request=request(row, variations[0].seed),
        queue=row.queue,
        created_s=row.created_s,
        variations=tuple(variation(each) for each in variations),
        version=row.version,
        position=position,
    )


def request(row: Row[Any], seed: int | None) -> MusicRequest:
    """The request of a job's row, with a variation's seed."""
    return MusicRequest(
        request_id=row.request_id,
        model=row.model,
        prompt=row.prompt,
        duration_ms=row.duration_ms,
        seed=seed,
        sampling=Sampling(**row.sampling),
        cache=row.cache,
        scope=row.scope,
        queue=row.queue,
    )


def variation(row: Row[Any]) -> Variation:
    """The variation of a row."""
    return Variation(
        number=row.number,
        state=row.state,
        seed=row.seed,
        frames=row.frames,
        num_frames=row.num_frames,
        attempts=row.attempts,
        generation=row.generation,
        fault=None if row.fault_type is None else Fault(row.fault_type, row.fault_message),
        started_s=row.started_s,
        ended_s=row.ended_s,
        health=None if row.collapsed is None else SoundHealth(**{name: getattr(row, name) for name in HEALTH}),
    )


def start_row(start: GenerationStart) -> dict[str, Any]:
    """The row of a start; its key and seed are columns of the variation."""
    states = io.BytesIO()
    if start.text_states is not None:
        # Not compressed: floats from a model would still take nine tenths of their size.
        np.save(states, start.text_states, allow_pickle=False)
    return {
        "outcome": start.outcome,
        "age_s": start.age_s,
        "identity": asdict(start.identity),
        "text_states": states.getvalue() or None,
    }


def resumption(row: Row[Any], start: Row[Any], parts: Iterable[Row[Any]]) -> Resumption:
    """What is saved of a variation. row: the variation's. parts: rows of its codes, in their order."""
    states = None
    if start.text_states is not None:
        states = np.load(io.BytesIO(start.text_states), allow_pickle=False)
    known_start = GenerationStart(
        key=row.generation,
        seed=row.seed,
        outcome=start.outcome,
        identity=EngineIdentity(**start.identity),
        age_s=start.age_s,
        text_states=states,
    )
    arrays = [codes(part) for part in parts]
    return Resumption(known_start, np.concatenate(arrays, axis=1) if arrays else np.zeros((0, 0), np.int16))


def codes_row(first_frame: int, part: np.ndarray) -> dict[str, Any]:
    """The row of codes. part: int16 [K, n], n > 0."""
    return {
        "first_frame": first_frame,
        "num_frames": part.shape[1],
        "codes": np.ascontiguousarray(part, dtype=_CODE).tobytes(),
    }


def codes(row: Row[Any]) -> np.ndarray:
    """The codes of a row: int16 [K, n]."""
    return np.frombuffer(row.codes, dtype=_CODE).reshape(-1, row.num_frames).astype(np.int16)
