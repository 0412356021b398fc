"""The wheel, installed where nothing of the checkout is, serves and makes music in an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import soundfile

from tests.ports import free_port

PACKAGES = ("serve_app", "deployments", "etude", "loadtests")


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    """What it printed. Nothing of the checkout is on its path."""
    outer = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MUSICGEN_STATE")}
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env={**outer, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools writes beside its sources."""
    root, copy, built = Path(__file__).parent.parent, tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("built")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, copy)
    for name in PACKAGES:
        shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", built, copy, folder=copy)
    [found] = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that has the wheel, and what it depends on from the one of the tests."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    run(*pip, "install", "--no-deps", "--no-index", wheel, folder=home)
    # A path alone: what a .pth file in it says, as that of the checkout does, is not read.
    [packages] = home.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def test_the_wheel_holds_what_the_service_needs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, pattern in (
        ("serve_app", "configs/*.yaml"),
        ("serve_app", "database/migrations/**/*.py"),
        ("etude", "checkpoint/*.safetensors"),
        ("etude", "checkpoint/*.json"),
    ):
        root = Path(__file__).parent.parent
        files = {path.relative_to(root).as_posix() for path in (root / folder).glob(pattern)}
        assert files
        assert files <= names
    assert not [name for name in names if name.startswith(("tests/", "build/")) or "__pycache__" in name]


def test_what_runs_is_the_wheel(commands: Path, tmp_path: Path) -> None:
    code = "import serve_app, deployments, pathlib; print(serve_app.__file__, deployments.__file__)"
    places = run(commands / "python", "-c", code, folder=tmp_path).split()
    assert all(Path(place).is_relative_to(commands.parent) for place in places)
    assert run(commands / "musicgen", "check", "local", folder=tmp_path) == "local: right\n"
    assert "No such" not in run(commands / "musicgen", "migrate", "up", folder=tmp_path)
    assert (tmp_path / "build" / "records.sqlite").exists()


@pytest.mark.timeout(600)
def test_it_makes_a_clip_in_an_empty_folder_and_keeps_its_state_there(commands: Path, tmp_path: Path) -> None:
    port = str(free_port())
    said = run(
        commands / "musicgen", "serve", "--once", "--duration", "2", "--prompt", "a tone", "--seed", "7",
        "--port", port, folder=tmp_path,
    )  # fmt: skip
    assert "saved clips/a-tone-7.wav" in said
    assert soundfile.info(tmp_path / "clips" / "a-tone-7.wav").duration == 2
    assert sorted(os.listdir(tmp_path)) == ["build", "clips"]
    assert {"cache", "records.sqlite"} <= set(os.listdir(tmp_path / "build"))
