"""The recorded application whose language models have no time to end what they have begun: it goes on elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from ray.serve import Application

from serve_app import graph
from tests.service.conftest import recorded_build

_GRACE_S = 0.1


def build(args: dict[str, Any]) -> Application:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "GRACEFUL_SHUTDOWN_TIMEOUT_S", _GRACE_S)
        return recorded_build(args)
