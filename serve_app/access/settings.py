"""What an operator may set of who may ask, and how much."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from serve_app.strict import StrictModel


def _is_url_of_redis(text: str) -> bool:
    try:
        parts = urlsplit(text)
        # Reading the port checks it, and what urlsplit says of a wrong one may be a part of the password.
        return parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


class LimitsSettings(StrictModel):
    """What each key may have (without keys: all together). null: no limit.

    at_once: requests under way that make music or submit a job. audio_s_per_minute, audio_s_per_day: seconds of music
    asked for.
    storage: `memory`, where every ingress replica counts for itself, or a Redis that all share: `redis://host:6379/0`.
    when_down: of that Redis: `open` lets requests through uncounted, `closed` answers 503.
    """

    at_once: int | None = Field(default=None, ge=1)
    audio_s_per_minute: int | None = Field(default=None, ge=1)
    audio_s_per_day: int | None = Field(default=None, ge=1)
    storage: SecretStr = SecretStr("memory")
    when_down: Literal["open", "closed"] = "open"

    @field_validator("storage")
    @classmethod
    def _is_memory_or_redis(cls, storage: SecretStr) -> SecretStr:
        if storage.get_secret_value() != "memory" and not _is_url_of_redis(storage.get_secret_value()):
            raise ValueError(
                "storage is memory or the URL of a Redis like redis://user:password@host:6379/0, "
                "with `/`, `@`, `#` and `?` in the password as %2F, %40, %23 and %3F"
            )
        return storage


class AuditSettings(StrictModel):
    """prompts: whether audit records have the words or `redacted`; the logs never have them. keep_s: null: for ever."""

    prompts: Literal["kept", "redacted"] = "kept"
    keep_s: float | None = Field(default=90 * 24 * 3600.0, gt=0)


class AccessSettings(StrictModel):
    """keys: `required` or `none`; without, the service listens on loopback only.
    share_cache: whether one tenant's request may be answered with what was made for another's.
    policy: `module:function` that says why a prompt is refused, or None: `function(prompt: str, tenant: str)`.
    """

    keys: Literal["none", "required"] = "none"
    share_cache: bool = False
    limits: LimitsSettings = LimitsSettings()
    audit: AuditSettings = AuditSettings()
    policy: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
