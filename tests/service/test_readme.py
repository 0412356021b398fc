"""What the documents show was run: their curl, Python and command-line examples, against a real service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from deployments.paths import ROOT
from tests.docs.pages import PAGES, blocks
from tests.service.conftest import RunningService

# By code, as README and the quick start have some in common.
EXAMPLES = {
    code: (f"{page.stem}-{number}", language)
    for page in PAGES
    for number, (language, code) in enumerate(blocks(page))
    if language in ("bash", "python")
}


def run(language: str, code: str, url: str, folder: Path) -> str:
    """What it prints, in a folder of its own, with the command `musicgen` at hand."""
    code = code.replace("http://127.0.0.1:8000", url)
    command = [sys.executable, "-c", code] if language == "python" else ["bash", "-euo", "pipefail", "-c", code]
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{environment['PATH']}", "MUSICGEN_URL": url}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("language", "code"), [pytest.param(language, code, id=name) for code, (name, language) in EXAMPLES.items()]
)
def test_an_example_of_the_documents_runs(service: RunningService, tmp_path: Path, language: str, code: str) -> None:
    output = run(language, code, service.url, tmp_path)
    made = [path for path in tmp_path.iterdir() if path.suffix in (".wav", ".mp3")]
    for path in made:
        assert soundfile.info(path).duration > 0.5
    assert output or made


def test_the_error_that_is_shown_is_the_one_a_client_gets(service: RunningService, tmp_path: Path) -> None:
    (shown,) = (code for language, code in blocks(ROOT / "docs" / "api.md") if language == "json")
    (asked,) = (code for code in EXAMPLES if "promt" in code)
    assert json.loads(run("bash", asked, service.url, tmp_path)) == json.loads(shown)
