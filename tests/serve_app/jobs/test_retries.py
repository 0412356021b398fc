"""Attempts come later and later, within bounds."""

from __future__ import annotations

from serve_app.jobs.maker import RetryPolicy
from serve_app.settings.application import JobsSettings

SETTINGS = JobsSettings(max_attempts=4, backoff_s=2.0, max_backoff_s=10.0)


def test_the_wait_doubles_up_to_its_bound() -> None:
    longest = RetryPolicy(SETTINGS, jitter=lambda: 1.0)
    assert [longest.backoff_s(attempts) for attempts in (1, 2, 3, 4, 60)] == [2, 4, 8, 10, 10]
    shortest = RetryPolicy(SETTINGS, jitter=lambda: 0.0)
    assert [shortest.backoff_s(attempts) for attempts in (1, 2, 3, 4, 60)] == [1, 2, 4, 5, 5]


def test_the_last_attempt_is_the_one_that_the_settings_name() -> None:
    assert [RetryPolicy(SETTINGS).is_exhausted(attempts) for attempts in (1, 3, 4, 5)] == [False, False, True, True]


def test_where_nothing_failed_the_wait_is_as_long_as_the_error_says() -> None:
    policy = RetryPolicy(SETTINGS, jitter=lambda: 1.0)
    assert policy.requeue_s(5.0) == 5.0
    assert policy.requeue_s(None) == 1.0
