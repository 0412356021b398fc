"""The time of day, as limits have it, for a test to set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from serve_app.auth import limits


@contextmanager
def wall_clock() -> Iterator[SimpleNamespace]:
    """What `limits` and the windows take for the time; `now_s` is for the test to set."""
    wall = SimpleNamespace(now_s=1_000_000.0)
    wall.time = lambda: wall.now_s
    with pytest.MonkeyPatch.context() as patch:
        for module in ("limits.aio.storage.memory", "limits.aio.strategies", "limits.storage.base", limits.__name__):
            patch.setattr(f"{module}.time", SimpleNamespace(time=wall.time), raising=False)
        yield wall
