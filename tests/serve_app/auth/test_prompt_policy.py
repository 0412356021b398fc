"""The operator's function: what it says is done, and where it says nothing the prompt stays out."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from serve_app.auth.prompt_policy import PolicyError, PolicyFunction, PromptPolicy, load_policy
from serve_app.errors import NotReady, PromptRefused
from serve_app.faults import Faults
from serve_app.stores.threads import ThreadPool

CANARY = "canary-c2f9"


def check(
    function: PolicyFunction, prompt: str = CANARY, *, timeout_s: float = 30.0, after: Callable[[], object] = int
) -> None:
    async def scenario() -> None:
        policy = PromptPolicy(function, ThreadPool(2, "policy"), Faults(lambda: 0.0), timeout_s=timeout_s)
        try:
            await policy.check(prompt, "tenant")
        finally:
            after()
            await policy.close()

    asyncio.run(scenario())


def test_none_lets_the_prompt_through_and_the_function_sees_prompt_and_tenant() -> None:
    seen = []

    def plain(prompt: str, tenant: str) -> None:
        seen.append((prompt, tenant, threading.current_thread() is threading.main_thread()))

    async def awaited(prompt: str, tenant: str) -> None:
        seen.append((prompt, tenant, threading.current_thread() is threading.main_thread()))

    check(plain, "words")
    check(awaited, "words")
    assert seen == [("words", "tenant", False), ("words", "tenant", True)]


def test_a_reason_refuses_the_prompt_and_is_told() -> None:
    async def awaited(prompt: str, tenant: str) -> str:
        return "No anthems."

    for function in (lambda prompt, tenant: "No anthems.", awaited):
        with pytest.raises(PromptRefused, match=r"No anthems\.") as raised:
            check(function)
        assert raised.value.status == 403
    with pytest.raises(PromptRefused, match="The prompt is refused"):
        check(lambda prompt, tenant: "")


def failing(prompt: str, tenant: str) -> None:
    raise ValueError(prompt)


async def failing_later(prompt: str, tenant: str) -> None:
    await asyncio.sleep(0)
    raise ValueError(prompt)


@pytest.mark.parametrize(
    "function", [failing, failing_later, lambda prompt, tenant: True, lambda prompt, tenant: False, lambda one: None]
)
def test_a_function_that_fails_lets_nothing_through_and_the_prompt_is_told_nowhere(
    function: PolicyFunction, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "serve_app"), pytest.raises(NotReady) as raised:
        check(function)
    assert raised.value.retry_after_s is not None
    assert raised.value.__context__ is raised.value.__cause__ is None
    assert [record.levelno for record in caplog.records if record.name != "asyncio"] == [logging.WARNING]
    assert CANARY not in caplog.text


def test_a_function_that_takes_too_long_lets_nothing_through() -> None:
    opened = threading.Event()

    def plain(prompt: str, tenant: str) -> None:
        opened.wait()

    async def awaited(prompt: str, tenant: str) -> None:
        await asyncio.Event().wait()

    for function in (plain, awaited):
        with pytest.raises(NotReady):
            check(function, timeout_s=0.01, after=opened.set)


def test_the_function_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "house_rules.py").write_text("number = 1\ndef check(prompt, tenant): return 'no'\n")
    (tmp_path / "broken_rules.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_policy("house_rules:check")("", "") == "no"
    for path, fault in (
        ("no_such_rules:check", "there is no module 'no_such_rules'"),
        ("house_rules.more:check", "there is no module 'house_rules.more'"),
        ("house_rules:chekc", "the module 'house_rules' has no function 'chekc'"),
        ("house_rules:number", "'number' in the module 'house_rules' is no function"),
    ):
        with pytest.raises(PolicyError, match=fault):
            load_policy(path)
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        load_policy("broken_rules:check")
    del sys.modules["house_rules"]
