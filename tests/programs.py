"""The programs that tests run: Debian's where they are installed, else those of wheels; a skip where there are neither.

TEST_SERVERS=wheels in the environment leaves Debian's aside and runs only the tests that start a server, so that CI
tests both.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest


class Unsupported(pytest.skip.Exception):
    """The server that runs lacks something which another one has."""


def only_wheels() -> bool:
    """Whether this run is of the wheels' servers."""
    return os.environ.get("TEST_SERVERS") == "wheels"


def of_debian(*names: str) -> Path | None:
    """The first of these programs that is installed."""
    found = None if only_wheels() else next(filter(None, map(shutil.which, names)), None)
    return found and Path(found)


def of_package(package: str, pattern: str) -> Path | None:
    """The file in an installed package; the package is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob(pattern), None)


def of_environment(name: str) -> Path | None:
    """A program that a wheel puts beside Python, which is not on PATH where nobody activated the environment."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    return found and Path(found)


def skip_without(program: str, command: str) -> NoReturn:
    """Skips; the list at the end of the run tells the command that brings the program (tests/skips.py)."""
    pytest.skip(f"needs {program}: {command}")


def skip_unsupported(feature: str, server: str, program: str, command: str) -> NoReturn:
    """Skips what the server that runs can't do, and another program can."""
    raise Unsupported(f"needs {program}, as {server} has no {feature}: {command}")
