from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deployments.telemetry.serve_log import ServeLog, serve_log


@pytest.fixture(scope="module")
def json_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeLog]:
    with serve_log(tmp_path_factory.mktemp("json"), "JSON") as log:
        yield log


@pytest.fixture
def text_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeLog]:
    with serve_log(tmp_path_factory.mktemp("text"), "TEXT") as log:
        yield log
