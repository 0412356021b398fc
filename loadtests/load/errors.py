"""The two ways in which an answer is not what a user hoped for."""

from __future__ import annotations


class WrongAnswer(Exception):
    """Not what was asked for; one sentence."""


class Refused(Exception):
    """429: another time. retry_after_s: as long as the service says."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"refused for {retry_after_s:g} s")
        self.retry_after_s = retry_after_s
