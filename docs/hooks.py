"""Called by mkdocs: pages and pictures from beside `docs/` become part of the site, and links lead to them.

In the repository a page of `docs/` links to them as `../monitoring/METRICS.md`; so the links work there, too.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "etude/README.md",
    "etude/checkpoint/README.md",
    "loadtests/LOG.md",
    "monitoring/LOGS.md",
    "monitoring/METRICS.md",
    "tests/README.md",
)
PICTURES = ("etude/checkpoint/*.png", "loadtests/results/*.png")

_LINK = re.compile(r"(!?\[[^\]]*\]\()(?![a-z]+:|#)([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what is beside `docs/`, by its path in the repository."""
    pictures = [str(path.relative_to(ROOT)) for pattern in PICTURES for path in sorted(ROOT.glob(pattern))]
    for name in (*PAGES, *pictures):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as the site has them: relative to `docs/`, where the repository has them relative to its root."""
    name = page.file.src_uri
    path = name if name in PAGES else f"docs/{name}"

    def in_site(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[2]))
        target = target.removeprefix("docs/")
        return match[1] + posixpath.relpath(target, posixpath.dirname(name) or ".")

    return _LINK.sub(in_site, markdown)
