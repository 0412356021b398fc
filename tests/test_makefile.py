"""The Makefile hands options on as they were typed, and leaves no half-made environment behind."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

# Stands in for python3: says its version, and makes a .venv whose pip can't install.
PYTHON = """#!/bin/sh
case "$1 $2" in
    "--version ") echo "Python {version}" ;;
    "-m venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip") [ "$3" != install ] ;;
    *) exit {is_wrong_version} ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path, project_root: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(project_root / name, tmp_path)
    return tmp_path


def make(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # Not what the make that runs the tests was given.
    outer = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(
        command, cwd=checkout, env={**outer, **environment}, capture_output=True, text=True, check=False
    )


def stand_in(checkout: Path, version: str, is_wrong_version: int) -> str:
    python = checkout / "python"
    python.write_text(PYTHON.format(version=version, is_wrong_version=is_wrong_version))
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return f"PYTHON={python}"


def test_a_prompt_arrives_as_it_was_typed(checkout: Path) -> None:
    prompt = 'it\'s "5 $" $(shell id) # 音楽 \\ `id`'
    show = ("--eval", "show: ; @printenv PROMPT", "show")
    assert make(checkout, *show, f"PROMPT={prompt}").stdout == f"{prompt}\n"
    assert make(checkout, *show, PROMPT=prompt).stdout == f"{prompt}\n"


def test_another_python_is_refused_by_name(checkout: Path) -> None:
    run = make(checkout, "run", stand_in(checkout, "3.9.2", is_wrong_version=1))
    assert run.returncode != 0
    assert "needs Python 3.10 to 3.13" in run.stdout
    assert "is Python 3.9.2" in run.stdout
    assert not (checkout / ".venv").exists()


def test_a_missing_python_is_said(checkout: Path) -> None:
    run = make(checkout, "run", "PYTHON=no-such-python")
    assert run.returncode != 0
    assert "no-such-python is not installed" in run.stdout


def test_an_installation_that_fails_is_tried_again(checkout: Path) -> None:
    for _ in range(2):
        run = make(checkout, "run", stand_in(checkout, "3.12.1", is_wrong_version=0))
        assert run.returncode != 0
        assert "installing into .venv" in run.stdout
        assert not (checkout / ".venv" / "installed").exists()


def test_make_alone_says_what_there_is(checkout: Path) -> None:
    helped = make(checkout)
    assert helped.returncode == 0
    for target in ("run", "test", "lint", "clean"):
        assert f"make {target} " in helped.stdout
