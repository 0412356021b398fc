from __future__ import annotations

import asyncio
import threading

import pytest
from pydantic import SecretStr

from serve_app.auth.gate import Gate
from serve_app.auth.prompt_policy import PolicyError
from serve_app.settings.application import AuthSettings, LimitsSettings
from tests.serve_app.auth.stores import RECORD, HeldKeys, HeldLines, unreachable

ALL = AuthSettings(
    keys="required",
    limits=LimitsSettings(at_once=2, audio_s_per_minute=60, storage=SecretStr("redis://127.0.0.1:1/0")),
    policy="tests.serve_app.auth.stores:unreachable",
)


def test_what_it_begins_it_ends() -> None:
    async def scenario() -> None:
        gate = Gate(ALL, HeldKeys(), HeldLines(), timeout_s=2.0)
        gate.start()
        await asyncio.sleep(0.01)
        await gate.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    before = threading.active_count()
    asyncio.run(scenario())
    assert threading.active_count() <= before


def test_one_that_was_not_begun_can_be_ended() -> None:
    async def scenario() -> None:
        await Gate(ALL, HeldKeys(), HeldLines(), timeout_s=2.0).close()

    asyncio.run(scenario())


def test_records_that_are_down_do_not_keep_it_from_ending() -> None:
    async def scenario() -> None:
        keys, lines = HeldKeys(), HeldLines()
        keys.error = lines.error = unreachable()
        gate = Gate(ALL, keys, lines, timeout_s=2.0)
        gate.start()
        gate.audit.put(RECORD)
        await gate.close()
        assert gate.faults.counts["audit write unreachable"] > 0

    asyncio.run(scenario())


def test_it_has_only_what_the_settings_ask_for() -> None:
    gate = Gate(AuthSettings(), HeldKeys(), HeldLines(), timeout_s=2.0)
    assert gate.api_keys is None
    assert gate.policy is None


def test_a_policy_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(PolicyError, match="no_such_rules"):
        Gate(AuthSettings(policy="no_such_rules:check"), HeldKeys(), HeldLines(), timeout_s=2.0)
