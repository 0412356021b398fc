"""What an operator may set of who may ask, and how much."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator

from serve_app.strict import StrictModel


class LimitsSettings(StrictModel):
    """What each key may have (without keys: all together). null: no limit.

    at_once: requests under way. audio_s_per_minute, audio_s_per_day: seconds of music asked for.
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
        text = storage.get_secret_value()
        if text != "memory" and not text.startswith(("redis://", "rediss://")):
            raise ValueError("storage is memory or the URL of a Redis like redis://host:6379/0")
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
