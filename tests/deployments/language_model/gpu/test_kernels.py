"""The Triton kernels' tests, in a process of their own where Triton interprets. On a GPU pytest runs them compiled too.

Triton reads TRITON_INTERPRET once, when it is imported, and transformers imports it: in this process it is too late.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "kernels"


def run_interpreted(*options: str, root: Path) -> subprocess.CompletedProcess[str]:
    """pytest's own settings are left out: whoever runs these tests may spread them over processes."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("not installed: triton, which PyPI has for Linux on x86_64")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "PYTEST_ADDOPTS": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider", *options, str(FOLDER)]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # of many tests in one
def test_every_kernel_agrees_with_plain_torch_in_tritons_interpreter(project_root: Path) -> None:
    done = run_interpreted(root=project_root)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout.splitlines()[-1]
    assert re.fullmatch(r"\d+ passed in .*", summary)  # none is skipped
