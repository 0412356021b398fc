from __future__ import annotations

import pytest

from tests.oracle.reference import SHAPES, Pair, pair


@pytest.fixture(scope="session", params=list(SHAPES))
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pair(tmp_path_factory.mktemp("checkpoints"), request.param)
