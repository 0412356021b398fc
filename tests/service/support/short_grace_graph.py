"""The recording application whose language models get no time to finish when they are stopped: others resume it."""

from __future__ import annotations

from typing import Any

import pytest
from ray.serve import Application

from serve_app import graph
from tests.service.conftest import build_with_recording

_GRACE_S = 0.1


def build(args: dict[str, Any]) -> Application:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "GRACEFUL_SHUTDOWN_TIMEOUT_S", _GRACE_S)
        return build_with_recording(args)
