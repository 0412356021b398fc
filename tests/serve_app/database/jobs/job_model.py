"""What a table of jobs has to do, in lists and loops: slow, and plain to see."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deployments.messages import GenerationStart, MusicRequest, QueueClass, Resumption
from serve_app.database.lease_table import ClockReading, TakenLease
from serve_app.job import (
    ENDED,
    Checkpoint,
    ClaimedVariation,
    Fault,
    IdempotencyKeyReused,
    Job,
    JobState,
    SoundHealth,
    StaleToken,
    Submission,
    TooManyQueued,
    UnknownJob,
    Variation,
    VariationId,
)

HOUR_S = 3600.0


@dataclass
class _Take:
    """A variation. due: None, or when it may be made again."""

    shown: Variation
    token: int = 0
    due: ClockReading | None = None
    start: GenerationStart | None = None
    codes: np.ndarray | None = None


@dataclass
class _Entry:
    id: str
    submission: Submission
    created_s: float
    takes: list[_Take]
    version: int = 0
    ended_s: float | None = None

    @property
    def waits(self) -> bool:
        return all(take.shown.state == "queued" for take in self.takes)


class JobModel:
    """As `JobTable`. peek: who holds a lease. clock, wall: as the table's."""

    def __init__(self, peek: Callable[[str], TakenLease | None], clock: Callable[[], ClockReading], wall: Callable[[], float]):
        self.entries: list[_Entry] = []
        self._peek, self._clock, self._wall = peek, clock, wall

    def refuse(self, submission: Submission, max_queued: int) -> None:
        """Raises what a submission is refused with."""
        mine = [entry for entry in self.entries if entry.submission.tenant == submission.tenant]
        before = self._before(submission)
        if before is not None:
            if before.submission.body_digest != submission.body_digest:
                raise IdempotencyKeyReused
            return
        waiting = [take for entry in mine for take in entry.takes if take.shown.state == "queued"]
        if len(waiting) + len(submission.seeds) > max_queued:
            raise TooManyQueued

    def submit(self, submission: Submission, job_id: str) -> tuple[Job, bool]:
        """One that is not refused. job_id: that it gets if it is new."""
        before = self._before(submission)
        if before is not None:
            return self._shown(before), False
        takes = [
            _Take(Variation(number, "queued", seed, 0, submission.num_frames))
            for number, seed in enumerate(submission.seeds)
        ]
        self.entries.append(_Entry(job_id, submission, self._wall(), takes))
        return self._shown(self.entries[-1]), True

    def find(self, tenant: str, job_id: str) -> Job | None:
        entry = self._entry(job_id)
        return None if entry is None or entry.submission.tenant != tenant else self._shown(entry)

    def find_many(self, pairs: Collection[tuple[str, str]]) -> dict[str, Job]:
        found = [self.find(tenant, job_id) for tenant, job_id in pairs]
        return {job.id: job for job in found if job is not None}

    def page(self, tenant: str, limit: int, before: str | None) -> list[Job]:
        mine = [self._shown(entry) for entry in reversed(self.entries) if entry.submission.tenant == tenant]
        if before is None:
            return mine[:limit]
        for number, job in enumerate(mine):
            if job.id == before:
                return mine[number + 1 :][:limit]
        raise UnknownJob

    def cancel(self, tenant: str, job_id: str) -> Job | None:
        entry = self._entry(job_id)
        if entry is None or entry.submission.tenant != tenant:
            return None
        going_on = [take for take in entry.takes if take.shown.state not in ENDED]
        for take in going_on:
            take.shown = replace(take.shown, state="cancelled", ended_s=self._wall())
            take.token += 1
        if going_on:
            self._came_to_an_end(entry)
        return self._shown(entry)

    def remove(self, tenant: str, job_id: str) -> bool:
        entry = self._entry(job_id)
        if entry is None or entry.submission.tenant != tenant or entry.ended_s is None:
            return False
        self.entries.remove(entry)
        return True

    def sweep(self, ended_before_s: float, limit: int) -> int:
        old = [entry for entry in self.entries if entry.ended_s is not None and entry.ended_s < ended_before_s]
        old.sort(key=lambda entry: entry.ended_s or 0.0)
        for entry in old[:limit]:
            self.entries.remove(entry)
        return len(old[:limit])

    def made(self, tenant: str, job_id: str, number: int) -> Resumption | None:
        job, take = self.find(tenant, job_id), self.take(VariationId(job_id, number))
        return None if job is None or take is None or take.shown.state != "succeeded" else _saved(take)

    def candidates(self, limit: int, classes: Collection[QueueClass]) -> list[VariationId]:
        """One at a time, each time whoever has most right to be next."""
        held = dict.fromkeys(self._tenants(), 0)
        free = []
        for number, entry in enumerate(self.entries):
            for take in entry.takes:
                variation = VariationId(entry.id, take.shown.number)
                if self._peek(variation.lease_name) is not None:
                    held[entry.submission.tenant] += 1
                elif entry.submission.request.queue in classes and take.shown.state not in ENDED and self._is_due(take):
                    group = (take.shown.state != "running", entry.submission.request.queue != "realtime")
                    free.append((group, number, entry.submission.tenant, variation))
        chosen: list[VariationId] = []
        for group in sorted({each[0] for each in free}):
            waiting, turns = [each for each in free if each[0] == group], dict(held)
            while waiting:
                least = min(waiting, key=lambda each: (turns[each[2]], each[1], each[3].number))
                waiting.remove(least)
                turns[least[2]] += 1
                chosen.append(least[3])
        return chosen[:limit]

    def begin(self, variation: VariationId, token: int) -> ClaimedVariation | None:
        entry, take = self._entry(variation.job_id), self.take(variation)
        if entry is None or take is None or take.shown.state in ENDED or take.token > token:
            return None
        take.token = token
        started_s = self._wall() if take.shown.started_s is None else take.shown.started_s
        take.shown = replace(take.shown, state="running", attempts=take.shown.attempts + 1, started_s=started_s)
        entry.version += 1
        request = replace(entry.submission.request, seed=take.shown.seed)
        return ClaimedVariation(request, take.shown.num_frames, take.shown.attempts, _saved(take))

    def save(self, batch: Sequence[Checkpoint]) -> set[VariationId]:
        """For batches of which every part is right."""
        fenced, changed = set(), set()
        for saving in batch:
            take = self.ours(saving.variation, saving.token)
            if take is None:
                fenced.add(saving.variation)
                continue
            begun = take.start is not None and (take.shown.generation, take.shown.seed)
            if saving.start is not None and begun != (saving.start.key, saving.start.seed):
                take.start = saving.start
                take.shown = replace(take.shown, seed=saving.start.seed, generation=saving.start.key)
                changed.add(saving.variation.job_id)
            if saving.frames is not None and saving.frames.first_frame + saving.frames.codes.shape[1] > (
                take.shown.frames
            ):
                new = saving.frames.codes[:, take.shown.frames - saving.frames.first_frame :]
                take.codes = new if take.codes is None else np.concatenate([take.codes, new], axis=1)
                take.shown = replace(take.shown, frames=take.codes.shape[1])
                changed.add(saving.variation.job_id)
        for entry in self.entries:
            entry.version += entry.id in changed
        return fenced

    def succeed(self, variation: VariationId, token: int, health: SoundHealth | None = None) -> None:
        take = self.take(variation)
        if take is not None and take.shown.frames < take.shown.num_frames and self.ours(variation, token):
            raise ValueError
        self._end(variation, token, "succeeded", health=health)

    def fail(self, variation: VariationId, token: int, fault: Fault) -> None:
        self._end(variation, token, "failed", fault=fault)

    def put_off(self, variation: VariationId, token: int, delay_s: float, failed: bool) -> None:
        take = self.ours(variation, token)
        if take is None:
            raise StaleToken
        take.due = ClockReading(self._clock().now_s + delay_s, self._clock().era)
        if not failed:
            if take.shown.attempts > 0:
                self._changed(variation)
            take.shown = replace(take.shown, attempts=max(0, take.shown.attempts - 1))

    def start_over(self, variation: VariationId, token: int) -> None:
        take = self.ours(variation, token)
        if take is None:
            raise StaleToken
        take.start, take.codes = None, None
        take.shown = replace(take.shown, frames=0, generation=None)
        self._changed(variation)

    def _end(self, variation: VariationId, token: int, state: JobState, **told: Any) -> None:
        entry, take = self._entry(variation.job_id), self.take(variation)
        if take is not None and (take.token, take.shown.state) == (token, state):
            return
        if entry is None or take is None or self.ours(variation, token) is None:
            raise StaleToken
        take.shown = replace(take.shown, state=state, ended_s=self._wall(), **told)
        self._came_to_an_end(entry)

    def _came_to_an_end(self, entry: _Entry) -> None:
        entry.version += 1
        if all(take.shown.state in ENDED for take in entry.takes):
            entry.ended_s = self._wall()

    def _changed(self, variation: VariationId) -> None:
        entry = self._entry(variation.job_id)
        assert entry is not None
        entry.version += 1

    def _before(self, submission: Submission) -> _Entry | None:
        for entry in self.entries:
            theirs = entry.submission
            if (theirs.tenant, theirs.idempotency_key) == (submission.tenant, submission.idempotency_key or object()):
                return entry
        return None

    def _entry(self, job_id: str) -> _Entry | None:
        return next((entry for entry in self.entries if entry.id == job_id), None)

    def take(self, variation: VariationId) -> _Take | None:
        entry = self._entry(variation.job_id)
        return None if entry is None or variation.number >= len(entry.takes) else entry.takes[variation.number]

    def ours(self, variation: VariationId, token: int) -> _Take | None:
        take = self.take(variation)
        return take if take is not None and take.token == token and take.shown.state == "running" else None

    def _tenants(self) -> set[str]:
        return {entry.submission.tenant for entry in self.entries}

    def _is_due(self, take: _Take) -> bool:
        now = self._clock()
        return take.due is None or take.due.era != now.era or not 0 < take.due.now_s - now.now_s <= HOUR_S

    def _shown(self, entry: _Entry) -> Job:
        shown, submission = tuple(take.shown for take in entry.takes), entry.submission
        request: MusicRequest = replace(submission.request, seed=shown[0].seed)
        queue = [
            other.id
            for other in self.entries
            if other.waits
            and (other.submission.tenant, other.submission.request.queue)
            == (submission.tenant, submission.request.queue)
        ]
        position = queue.index(entry.id) + 1 if entry.waits else None
        return Job(
            entry.id,
            submission.tenant,
            request,
            submission.request.queue,
            entry.created_s,
            shown,
            entry.version,
            position,
        )


def _saved(take: _Take) -> Resumption | None:
    if take.start is None:
        return None
    return Resumption(take.start, np.zeros((0, 0), np.int16) if take.codes is None else take.codes)
