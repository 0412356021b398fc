"""From a job to the JSON that tells a client of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from deployments.messages import ModelCard
from serve_app.api.generation_schemas import (
    GenerationAnswer,
    GenerationLinks,
    GenerationsAnswer,
    GenerationTiming,
    PageLinks,
    SoundHealthAnswer,
    VariationAnswer,
    VariationFault,
    VariationLinks,
)
from serve_app.audio.health import SoundHealth
from serve_app.cache.keys import short_id
from serve_app.jobs.job import ENDED, Job, Variation

PATH = "/v1/generations"


def generation_path(job_id: str, root: str) -> str:
    """The address of a generation. root: the path under which the service is mounted, empty where it is not."""
    return f"{root}{PATH}/{job_id}"


def generation_answer(job: Job, cards: Sequence[ModelCard], root: str) -> GenerationAnswer:
    """The resource: a function of the job's version and nothing else, so that it is the same whenever it is asked."""
    path = generation_path(job.id, root)
    started_s = min((each.started_s for each in job.variations if each.started_s is not None), default=None)
    ended_s = _ended_s(job)
    return GenerationAnswer(
        id=job.id,
        state=job.state,
        progress=job.progress,
        position=job.position if job.state == "queued" else None,
        queue=job.queue,
        model_id=job.request.model,
        license=next((card.license for card in cards if card.name == job.request.model), None),
        prompt=job.request.prompt,
        music_length_ms=job.request.duration_ms,
        created_at=rfc3339(job.created_s),
        started_at=None if started_s is None else rfc3339(started_s),
        ended_at=None if ended_s is None else rfc3339(ended_s),
        timing=GenerationTiming(queued_s=_between(job.created_s, started_s), running_s=_between(started_s, ended_s)),
        variations=[_variation(each, path) for each in job.variations],
        links=GenerationLinks(self=path, events=f"{path}/events", audio=f"{path}/audio"),
    )


def page_answer(jobs: Sequence[Job], limit: int, cards: Sequence[ModelCard], root: str) -> GenerationsAnswer:
    """The first `limit` of these jobs; where there are more of them, there is a next page."""
    shown = jobs[:limit]
    more = f"{root}{PATH}?limit={limit}&before={shown[-1].id}" if len(jobs) > limit else None
    return GenerationsAnswer(
        generations=[generation_answer(job, cards, root) for job in shown], links=PageLinks(next=more)
    )


def rfc3339(moment_s: float) -> str:
    """Seconds since 1970 as UTC, to the millisecond."""
    moment = datetime.fromtimestamp(moment_s, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _variation(variation: Variation, path: str) -> VariationAnswer:
    fault, health = variation.fault, variation.health
    return VariationAnswer(
        number=variation.number,
        state=variation.state,
        progress=variation.frames / variation.num_frames,
        seed=variation.seed,
        music_id=None if variation.generation is None else short_id(variation.generation),
        error=None if fault is None else VariationFault(type=fault.type, message=fault.message),
        sound=None if health is None else _sound(health),
        links=VariationLinks(audio=f"{path}/audio?variation={variation.number}"),
    )


def _sound(health: SoundHealth) -> SoundHealthAnswer:
    """To a ten-thousandth: no more of it means anything."""
    return SoundHealthAnswer(
        collapsed=health.collapsed,
        silent_share=round(health.silent_share, 4),
        clipped_share=round(health.clipped_share, 4),
        flatness=None if health.flatness is None else round(health.flatness, 4),
        harmonicity=None if health.harmonicity is None else round(health.harmonicity, 4),
    )


def _ended_s(job: Job) -> float | None:
    """When the last variation ended; None while one has not."""
    ends = [each.ended_s for each in job.variations if each.ended_s is not None]
    return max(ends) if ends and job.state in ENDED else None


def _between(from_s: float | None, to_s: float | None) -> float | None:
    """Never below zero: the two may be of two machines' clocks."""
    return None if from_s is None or to_s is None else round(max(0.0, to_s - from_s), 3)
