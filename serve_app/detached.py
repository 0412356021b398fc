"""Tasks that several requests wait for, and that belong to none of them.

A task takes on the context of whoever starts it, and Serve ends whatever a request has begun when its client leaves.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def detached(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """As `asyncio.create_task`, in an empty context."""
    return contextvars.Context().run(asyncio.create_task, coroutine)
