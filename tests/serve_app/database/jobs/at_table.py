"""Jobs at a table, and one who makes them."""

from __future__ import annotations

from serve_app.database.job_table import JobTable
from serve_app.job import ClaimedVariation, Job, VariationId
from tests.serve_app.database.jobs.submissions import saving, start, submission


def submitted(table: JobTable, tenant: str = "ours", **options: object) -> Job:
    job, is_new = table.submit(submission(tenant, **options), 1000)  # type: ignore[arg-type]
    assert is_new
    return job


def first(job: Job) -> VariationId:
    return VariationId(job.id, 0)


def begun(table: JobTable, variation: VariationId, token: int) -> ClaimedVariation:
    found = table.begin(variation, token)
    assert found is not None
    return found


def make(table: JobTable, variation: VariationId, token: int = 1) -> None:
    begun(table, variation, token)
    assert table.save([saving(variation, token, 0, 6, start())]) == set()
    table.succeed(variation, token)
