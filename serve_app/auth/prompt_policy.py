"""The operator's prompt policy: a function named in the settings that may refuse a prompt."""

from __future__ import annotations

import importlib
import inspect
import traceback
from collections.abc import Callable
from pathlib import Path

from deployments.liveness.stalls import within
from serve_app.errors import NotReady, PromptRefused
from serve_app.faults import Faults
from serve_app.stores.threads import ThreadPool

TIMEOUT_S = 2.0

PolicyFunction = Callable[[str, str], object]


class PolicyError(ValueError):
    """The function does not exist; one sentence."""


def load_policy(path: str) -> PolicyFunction:
    """The function that `module:function` names. Raises: PolicyError; what the module raises when it is imported."""
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A missing module that the policy's own module imports is another error, and is raised as it is.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise PolicyError(f"access.policy: there is no module {module_name!r}") from error
    function = getattr(module, name, None)
    if function is None:
        raise PolicyError(f"access.policy: the module {module_name!r} has no function {name!r}")
    if not callable(function):
        raise PolicyError(f"access.policy: {name!r} in the module {module_name!r} is no function")
    return function  # type: ignore[no-any-return]  # its results are checked when it is called


class PromptPolicy:
    """Calls the function with (prompt, tenant): in a thread, or in the event loop where it is a coroutine function.

    The function returns None for a prompt that is fine, or the reason to refuse it, which the client is told.

    Args:
        timeout_s: of a call.
    """

    def __init__(
        self, function: PolicyFunction, threads: ThreadPool, faults: Faults, *, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._function = function
        self._threads = threads
        self._faults = faults
        self._timeout_s = timeout_s

    async def check(self, prompt: str, tenant: str) -> None:
        """Returns when the prompt is allowed.

        Raises:
            PromptRefused: the function refuses it.
            NotReady: the function fails, returns anything else or takes too long; then no prompt is let through.
        """
        failure = None
        reason: object = None
        try:
            reason = await self._reason(prompt, tenant)
        except Exception as error:  # noqa: BLE001 - of the operator's code, which may raise anything
            failure = _kind_and_place(error)
        if failure is None and not (reason is None or isinstance(reason, str)):
            failure = f"it gives a {type(reason).__name__}, neither None nor a str"
        # Not raised above: the error's context would be the function's own error, which may hold the prompt.
        if failure is not None:
            self._faults.count("policy failed", failure)
            raise NotReady("The prompt can't be checked now: try again later.")
        if isinstance(reason, str):
            raise PromptRefused(reason or "The prompt is refused.", param="prompt")

    async def close(self) -> None:
        """Waits for the calls in progress."""
        await self._threads.close()

    async def _reason(self, prompt: str, tenant: str) -> object:
        if inspect.iscoroutinefunction(self._function):
            return await within(self._function(prompt, tenant), self._timeout_s)
        return await self._threads.run(lambda: self._function(prompt, tenant), self._timeout_s)


def _kind_and_place(error: Exception) -> str:
    """The error without its message, which may hold the prompt."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
