"""The documents, read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from deployments.paths import ROOT

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_ANCHOR = re.compile(r'<a id="([^"]+)"')


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, code) of each."""
    return _BLOCK.findall(page.read_text(encoding="utf-8"))


def prose(page: Path) -> str:
    """Without blocks of code."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[str]:
    """Where the page's links lead, those to other sites aside."""
    yield from (target for target in _LINK.findall(prose(page)) if "://" not in target)


def named_paths(page: Path) -> Iterator[str]:
    """Files and folders of the project that stand in code marks."""
    tops = "serve_app|deployments|etude|loadtests|monitoring|kubernetes|docs|tests"
    for word in _CODE.findall(prose(page)):
        if re.fullmatch(rf"(?:{tops})/[\w./]*|[\w-]+\.(?:yaml|toml)|Dockerfile|\.ci/run", word):
            yield word


def anchors(page: Path) -> set[str]:
    """What a link to a part of the page may name, by GitHub's rule."""
    text = prose(page)
    return {_slug(heading) for heading in _HEADING.findall(text)} | set(_ANCHOR.findall(text))


def _slug(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
