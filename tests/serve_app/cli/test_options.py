"""Wrong options are a sentence each, before anything starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.cli.options import OptionError, Options


@pytest.fixture(autouse=True)
def _from_the_root(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project_root)


def test_everything_has_a_default_and_empty_counts_as_not_given() -> None:
    defaults = Options.from_environment({})
    assert defaults == Options.from_environment(
        dict.fromkeys(("CONFIG", "PROMPT", "DURATION", "SEED", "PORT", "CACHE", "ONCE"), "")
    )
    assert (defaults.duration_ms, defaults.seed, defaults.port) == (10_000, None, None)
    assert (defaults.cache, defaults.once) == ("use", False)


def test_what_is_given_is_taken() -> None:
    prompt = 'it\'s "5 $" of 音楽'
    given = {"PROMPT": prompt, "DURATION": "2.5", "SEED": str(2**64 - 1), "PORT": "8001", "ONCE": "1", "CACHE": "off"}
    options = Options.from_environment(given)
    assert (options.prompt, options.duration_ms, options.seed) == (prompt, 2500, 2**64 - 1)
    assert (options.port, options.cache, options.once) == (8001, "off", True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("DURATION", value) for value in ("abc", "0", "-1", "99", "nan", "inf", "1e999", "0.0001", "10s")),
        *(("SEED", value) for value in ("abc", "-1", "1.5", str(2**64), "9" * 5000, "²")),
        *(("PORT", value) for value in ("abc", "0", "65536", "-1")),
        *(("CACHE", value) for value in ("yes", "Use", "use|refresh")),
        ("ONCE", "yes"),
        ("CONFIG", "no/such/file.yaml"),
    ],
)
def test_a_wrong_option_is_named(name: str, value: str) -> None:
    with pytest.raises(OptionError, match=f"^{name} is "):
        Options.from_environment({name: value})


def test_a_wrong_option_ends_the_run_at_once_with_its_sentence_alone() -> None:
    environment = {**os.environ, "DURATION": "abc"}
    command = [sys.executable, "-m", "serve_app.cli.serve"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr == "DURATION is 'abc'; it must be a number of seconds, above 0 and 30 at most\n"
