from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from serve_app.settings.application import AuthSettings, LimitsSettings


@pytest.mark.parametrize(
    "storage", ["memory", "redis://host:6379/0", "rediss://user:pass%2Fword@host/1", "redis://[::1]:6379"]
)
def test_limits_are_counted_in_memory_or_in_a_redis(storage: str) -> None:
    assert LimitsSettings(storage=SecretStr(storage)).storage.get_secret_value() == storage


@pytest.mark.parametrize(
    "storage", ["", "disk", "http://host", "redis://", "redis://:canary/4@host:6379", "redis://:a@host:canary"]
)
def test_anything_else_is_refused_with_what_would_be_right_and_without_what_came(storage: str) -> None:
    with pytest.raises(ValidationError) as raised:
        LimitsSettings.model_validate({"storage": storage})
    assert "memory or the URL of a Redis like redis://" in str(raised.value)
    assert "canary" not in str(raised.value)


def test_a_redis_password_is_not_shown() -> None:
    settings = AuthSettings(limits=LimitsSettings(storage=SecretStr("redis://:canary-0f@host:6379/0")))
    assert "canary" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
