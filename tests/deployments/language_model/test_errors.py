"""Errors that cross processes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.language_model.errors import EngineFailed, EngineFenced, EngineFull, EngineMismatch, OutOfMemory
from deployments.messages import EngineIdentity


def test_an_engine_that_is_another_says_which_it_is_in_any_process() -> None:
    identity = EngineIdentity("0" * 64, "x86_64 torch 2 float32", 2048)
    error = pickle.loads(pickle.dumps(EngineMismatch(identity)))
    assert isinstance(error, EngineMismatch)
    assert error.identity == identity
    assert "x86_64 torch 2 float32" in str(error)


@pytest.mark.parametrize("kind", [EngineFull, OutOfMemory, EngineFenced, EngineFailed])
def test_the_others_keep_their_words(kind: type[Exception]) -> None:
    error = pickle.loads(pickle.dumps(kind("why")))
    assert type(error) is kind
    assert str(error) == "why"


def test_to_know_them_takes_neither_torch_nor_ray(project_root: Path) -> None:
    program = "import sys, deployments.language_model.errors; sys.exit(bool({'torch', 'ray'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], cwd=project_root, check=True)
