"""The kernels compiled on a GPU, and where there is none, interpreted on a CPU.

Triton reads TRITON_INTERPRET when it is imported, as transformers does: tests that interpret have a process of their
own. `../test_kernels.py` starts it. By hand: TRITON_INTERPRET=1 pytest tests/deployments/language_model/gpu/kernels
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.deployments.language_model.gpu.kernels.cases import INTERPRETED, ODD, Pair
from tests.deployments.language_model.random_decoder import CONFIG

if not INTERPRETED:
    collect_ignore_glob = ["test_*.py"]
    if torch.cuda.is_available():
        collect_ignore_glob = ["test_interpreter.py", "test_planted_faults.py"]


@pytest.fixture(scope="session", autouse=True)
def mended_interpreter() -> Iterator[None]:
    """Multiplies bfloat16, and refuses what is out of bounds."""
    with pytest.MonkeyPatch.context() as patch:
        if INTERPRETED:
            from tests.deployments.language_model.gpu.kernels import interpreter

            interpreter.patch_language_once(patch)
            interpreter.mend_bfloat16(patch)
            interpreter.check_bounds(patch)
        yield


@pytest.fixture(scope="session", params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def compute(request: pytest.FixtureRequest) -> torch.dtype:
    """What is multiplied, and kept as keys and values."""
    chosen: torch.dtype = request.param
    return chosen


@pytest.fixture(scope="session")
def even(compute: torch.dtype) -> Pair:
    return Pair.of(CONFIG, compute)


@pytest.fixture(scope="session", params=[CONFIG, ODD], ids=["even", "odd"])
def pair(request: pytest.FixtureRequest, compute: torch.dtype) -> Pair:
    return Pair.of(request.param, compute)
