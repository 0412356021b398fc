"""Attempts come later and later, within bounds."""

from __future__ import annotations

from serve_app.jobs.maker import Retries
from serve_app.settings.application import JobsSettings

SETTINGS = JobsSettings(max_attempts=4, backoff_s=2.0, max_backoff_s=10.0)


def test_the_wait_doubles_up_to_its_bound() -> None:
    longest = Retries(SETTINGS, jitter=lambda: 1.0)
    assert [longest.after_failure_s(attempts) for attempts in (1, 2, 3, 4, 60)] == [2, 4, 8, 10, 10]
    shortest = Retries(SETTINGS, jitter=lambda: 0.0)
    assert [shortest.after_failure_s(attempts) for attempts in (1, 2, 3, 4, 60)] == [1, 2, 4, 5, 5]


def test_the_last_attempt_is_the_one_that_the_settings_name() -> None:
    assert [Retries(SETTINGS).is_over(attempts) for attempts in (1, 3, 4, 5)] == [False, False, True, True]


def test_who_stands_aside_does_so_for_as_long_as_was_asked() -> None:
    retries = Retries(SETTINGS, jitter=lambda: 1.0)
    assert retries.aside_s(5.0) == 5.0
    assert retries.aside_s(None) == 1.0
