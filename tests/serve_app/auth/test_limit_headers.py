from __future__ import annotations

from serve_app.auth.limits import LimitStatus, limit_headers


def test_the_headers_are_of_the_limit_nearest_to_its_end() -> None:
    minute = LimitStatus("audio_s_per_minute", 60, 30, 12.3)
    day = LimitStatus("audio_s_per_day", 1000, 200, 4000)
    assert limit_headers([minute, day]) == limit_headers([day, minute]) == day.headers()
    assert minute.headers() == {
        "X-RateLimit-Policy": "audio_s_per_minute",
        "X-RateLimit-Limit": "60",
        "X-RateLimit-Remaining": "30",
        "X-RateLimit-Reset": "13",
    }


def test_without_limits_there_are_no_headers() -> None:
    assert limit_headers([]) == {}
