"""What README shows was run: its curl and Python examples, against a real service."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from tests.service.conftest import RunningService

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)


def run(language: str, code: str, url: str, folder: Path) -> str:
    code = code.replace("http://127.0.0.1:8000", url)
    command = [sys.executable, "-c", code] if language == "python" else ["bash", "-euo", "pipefail", "-c", code]
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.parametrize(("language", "code"), BLOCKS)
def test_an_example_of_the_readme_runs(service: RunningService, tmp_path: Path, language: str, code: str) -> None:
    output = run(language, code, service.url, tmp_path)
    made = [path for path in tmp_path.iterdir() if path.suffix in (".wav", ".mp3")]
    for path in made:
        assert soundfile.info(path).duration > 0.5
    assert output or made


def test_the_error_the_readme_shows_is_the_one_a_client_gets(service: RunningService, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    shown = re.search(r"^```json\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    assert shown
    example = next(code for _, code in BLOCKS if "promt" in code)
    assert json.loads(run("bash", example, service.url, tmp_path)) == json.loads(shown[1])


def test_every_file_and_folder_the_readme_names_is_there() -> None:
    named = re.findall(r"`((?:serve_app|deployments|etude|loadtests|tests)/[\w./]*)`", (ROOT / "README.md").read_text())
    assert named
    for path in named:
        assert (ROOT / path).exists(), path
