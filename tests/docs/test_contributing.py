"""The contributing page says where to change five things, and that is where they are."""

from __future__ import annotations

import re

import pytest

from deployments.liveness.timings import TIMINGS
from deployments.messages import Sampling
from deployments.paths import ROOT
from serve_app.errors import OverLimit, TooBusy
from serve_app.settings.application import JobsSettings
from serve_app.sound.containers import CONTAINER_FORMATS

TEXT = (ROOT / "docs" / "contributing.md").read_text()
TABLE = TEXT.partition("| to change |")[2].partition("\n\n")[0].splitlines()[2:]
QUESTIONS = {
    "the MP3 bit rate",
    "the time after which a silent worker is given up",
    "how long jobs are kept",
    "the default of top_k",
    "what a 429 says",
}


def answers() -> dict[str, tuple[list[str], list[str]]]:
    """By question, the files and the names to look for in them."""
    rows = (re.fullmatch(r"\| (.+) \| (.+) \| (.+) \|", line) for line in TABLE)
    return {row[1]: (re.findall("`([^`]+)`", row[2]), re.findall("`([^`]+)`", row[3])) for row in rows if row}


def test_the_five_questions_are_answered() -> None:
    assert answers().keys() == QUESTIONS


@pytest.mark.parametrize("question", sorted(QUESTIONS))
def test_the_files_are_there_and_have_what_is_asked_for(question: str) -> None:
    files, names = answers()[question]
    assert files
    assert names
    for file in files:
        text = (ROOT / file).read_text()
        assert any(re.search(rf"\b{name}\b", text) for name in names), file


def test_the_names_mean_what_is_asked_for() -> None:
    assert CONTAINER_FORMATS["mp3"].compression_level is not None
    assert TIMINGS.engine_silence_s > TIMINGS.engine_lease_s
    assert JobsSettings().keep_s == 7 * 24 * 3600
    assert Sampling().top_k == 250
    assert {each.status for each in (TooBusy, OverLimit)} == {429}


def test_every_file_that_says_429_is_named() -> None:
    saying = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "serve_app").rglob("*.py")
        if re.search(r"(?<!class )\b(?:TooBusy|OverLimit)\(\s*f?\"", path.read_text())
    }
    assert saying == set(answers()["what a 429 says"][0]) - {"serve_app/errors.py"}
