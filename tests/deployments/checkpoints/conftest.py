from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint for reading only."""
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "checkpoint", vocab=64, codec_width=8)
