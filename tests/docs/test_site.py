"""The site is built without a warning, and a page of it loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.paths import ROOT

_LOADED = re.compile(r"<(?:script|img|link|iframe|source)\b[^>]*\b(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)")


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """With proxies that don't answer: whatever asks the network fails."""
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    environment |= dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=250, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT, folder)
    assert built.returncode == 0, built.stderr + built.stdout
    return folder


def test_every_page_is_in_the_site(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages <= {path.stem for path in site.glob("*.html")}
    for beside in ("monitoring/METRICS.html", "monitoring/LOGS.html", "loadtests/LOG.html", "etude/index.html"):
        assert (site / beside).exists(), beside
    assert (site / "loadtests" / "results" / "demo-kill.png").exists()


def test_no_program_is_published_with_it(site: Path) -> None:
    assert list(site.rglob("*.py")) == []


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert pages
    for page in pages:
        assert _LOADED.findall(page.read_text()) == [], page
        assert 'class="mermaid"' not in page.read_text()  # drawn by a program that the browser would fetch
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)]+", sheet.read_text()) == [], sheet


def test_what_is_loaded_from_elsewhere_is_noticed() -> None:
    assert _LOADED.findall(
        '<script src="https://cdn.example.com/a.js"></script><a href="https://example.com">x</a>'
    ) == ["https://cdn.example.com/a.js"]


def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    settings = (tmp_path / "mkdocs.yml").read_text().partition("\nnav:")[0].replace("hooks: [docs/hooks.py]", "")
    (tmp_path / "mkdocs.yml").write_text(settings.replace("extra_css: [extra.css]", ""))
    (tmp_path / "docs" / "index.md").write_text("# Page\n\n[nowhere](nowhere.md)\n")
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    assert "nowhere.md" in built.stderr
