"""Wrong options are a sentence each, before anything starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.cli.serve import OptionError, ServeOptions


@pytest.fixture(autouse=True)
def _from_the_root(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project_root)


def test_everything_has_a_default_and_empty_counts_as_not_given() -> None:
    defaults = ServeOptions.read({})
    assert defaults == ServeOptions.read(
        dict.fromkeys(("CONFIG", "PROMPT", "DURATION", "SEED", "PORT", "CACHE", "ONCE"), "")
    )
    assert (defaults.duration_ms, defaults.seed, defaults.port) == (10_000, None, None)
    assert (defaults.cache, defaults.once) == ("use", False)


def test_what_is_given_is_taken() -> None:
    prompt = 'it\'s "5 $" of 音楽'
    given = {"PROMPT": prompt, "DURATION": "2.5", "SEED": str(2**64 - 1), "PORT": "8001", "ONCE": "1", "CACHE": "off"}
    options = ServeOptions.read(given)
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
        ServeOptions.read({name: value})


@pytest.mark.parametrize(("name", "value"), [("DURATION", "abc"), ("SEED", "-1"), ("PORT", "0"), ("CACHE", "yes")])
def test_a_wrong_option_is_named_as_it_was_given(name: str, value: str) -> None:
    with pytest.raises(OptionError, match=f"^--{name.lower()} is '{value}'; it must be "):
        ServeOptions.read({name: "1"}, {name: value})


def test_what_the_command_line_says_goes_first() -> None:
    environment = {"PROMPT": "a", "DURATION": "2", "SEED": "1", "PORT": "8001", "CACHE": "off"}
    options = ServeOptions.read(environment, {"PROMPT": "b", "DURATION": "3", "SEED": None})
    assert (options.prompt, options.duration_ms, options.seed) == ("b", 3000, 1)
    assert (options.port, options.cache) == (8001, "off")


@pytest.mark.parametrize("name", ["gpu", "gpu.yaml", "serve_app/configs/gpu.yaml"])
def test_a_deploy_file_that_comes_with_the_package_is_found_by_its_name(name: str) -> None:
    assert ServeOptions.read({"CONFIG": name}).config == Path("serve_app/configs/gpu.yaml")


def test_a_wrong_option_ends_the_run_at_once_with_its_sentence_alone() -> None:
    environment = {**os.environ, "DURATION": "abc"}
    command = [sys.executable, "-m", "serve_app.cli.main", "serve"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr == "DURATION is 'abc'; it must be a number of seconds, above 0 and 30 at most\n"
