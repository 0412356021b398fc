"""Why a response is not a success."""

from __future__ import annotations


class WrongAnswer(Exception):
    """Not what was requested; one sentence."""


class Refused(Exception):
    """429. retry_after_s: as the service says."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"refused for {retry_after_s:g} s")
        self.retry_after_s = retry_after_s
