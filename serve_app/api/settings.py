"""What an operator may set of the HTTP surface."""

from __future__ import annotations

from pydantic import Field

from serve_app.strict import StrictModel


class ApiSettings(StrictModel):
    """max_body_bytes: no request body beyond this is read. body_timeout_s: nor waited for longer than this.
    deadline_s: how long an answer may take before 504, with all its waiting; a model has one of its own for the making.

    max_gathered_bytes: of what all streams of one ingress replica hold back together so that their files can be kept.
    A stream for which there is no room is sent like any other, and its file is not kept; 0 keeps none of them.
    """

    max_body_bytes: int = Field(default=64 * 1024, ge=1024)
    body_timeout_s: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    deadline_s: float = Field(default=600.0, gt=0, allow_inf_nan=False)
    max_gathered_bytes: int = Field(default=64 * 2**20, ge=0)
