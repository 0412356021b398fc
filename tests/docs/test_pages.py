"""README is short and has what a newcomer uses; links and paths in all documents lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.paths import ROOT
from tests.docs.pages import PAGES, README, anchors, blocks, links, named_paths

COMMANDS = ('make run PROMPT="a 30-second grand piano jazz improvisation" DURATION=30', "make test")


def missing(page: Path) -> list[str]:
    """Links that lead nowhere, and paths that name nothing."""
    gone = []
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            gone.append(link)
    folders = (ROOT, ROOT / "monitoring")
    return gone + [path for path in named_paths(page) if not any((folder / path).exists() for folder in folders)]


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 150


def test_the_readme_has_the_two_commands_each_alone_in_a_block_and_one_request() -> None:
    shown = blocks(README)
    for command in COMMANDS:
        assert ("sh", f"{command}\n") in shown
    assert [language for language, _ in shown if language in ("bash", "python")] == ["bash"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_every_path_that_a_page_names_is_there(page: Path) -> None:
    assert missing(page) == []


def test_what_is_not_there_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A heading\n[a](other.md) [b](#a-heading) [c](#another) `serve_app/nothing.py` `serve_app/errors.py`\n"
    )
    assert missing(page) == ["other.md", "#another", "serve_app/nothing.py"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page: Path) -> None:
    assert {language for language, _ in blocks(page)} <= {"bash", "python", "sh", "text", "json", "yaml"}


def test_no_page_is_left_out_of_the_readme() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links(README)}
    assert {page for page in PAGES if page != README} <= linked
