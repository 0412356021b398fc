"""What tests of the command share: an environment that is put back, and a node's metadata server and raylet."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.serve_app.spot.conftest import server, start_raylet

# Fixtures, which pytest finds here.
__all__ = ["server", "start_raylet"]


@pytest.fixture(autouse=True)
def _environment_is_restored() -> Iterator[None]:
    """The command, run in this process, tells its state folder to what it starts through the environment."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
