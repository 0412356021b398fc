from __future__ import annotations

import pytest

from deployments.language_model.gpu.decoder import GpuDecoder
from tests.deployments.language_model.random_decoder import gpu_decoder


@pytest.fixture(scope="session")
def decoder() -> GpuDecoder:
    """float32, in plain torch on a CPU: the same steps, pages and program as on a GPU."""
    return gpu_decoder("float32")
