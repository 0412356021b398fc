"""What an operator may set of jobs."""

from __future__ import annotations

from pydantic import Field

from serve_app.strict import StrictModel


class JobsSettings(StrictModel):
    """max_running: variations that one ingress replica makes at once; 0: it takes jobs in and leaves them to others.
    reserved: of these places, those that only `realtime` jobs take. max_queued: that have not begun, of each tenant.
    max_variations: of one job.
    max_attempts: after which a variation that failed again and again is given up; what a lost worker, a full queue or a
    roll-out cost is no failure. backoff_s: before the second attempt, doubled before each further one, to
    max_backoff_s at most.
    keep_s: how long a job that has ended is kept, with its codes; null: until it is deleted.
    """

    max_running: int = Field(default=8, ge=0, le=256)
    reserved: int = Field(default=2, ge=0)
    max_queued: int = Field(default=1_000, ge=1)
    max_variations: int = Field(default=8, ge=1, le=64)
    max_attempts: int = Field(default=5, ge=1, le=100)
    backoff_s: float = Field(default=1.0, gt=0, le=60)
    max_backoff_s: float = Field(default=60.0, gt=0, le=3600)
    keep_s: float | None = Field(default=7 * 24 * 3600.0, gt=0)
