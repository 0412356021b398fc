"""What an operator may set of the HTTP surface."""

from __future__ import annotations

from pydantic import Field

from serve_app.strict import StrictModel


class ApiSettings(StrictModel):
    """max_body_bytes: no request body beyond this is read. deadline_s: how long a clip may take before 504."""

    max_body_bytes: int = Field(default=64 * 1024, ge=1024)
    deadline_s: float = Field(default=600.0, gt=0, allow_inf_nan=False)
