"""What the pages for operators and newcomers name is there: panels of the dashboard, packages of the tree."""

from __future__ import annotations

from deployments.paths import ROOT
from tests.docs.pages import named_paths
from tests.monitoring.files import DASHBOARD, panels


def test_every_figure_to_watch_is_on_a_panel() -> None:
    titles = {panel["title"] for panel in panels(DASHBOARD)}
    section = (ROOT / "docs" / "operations.md").read_text().partition("\n## What to watch\n")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 5
    for row in rows:
        assert set(row[1].split(", ")) <= titles


def test_every_package_is_explained() -> None:
    named = {path.removesuffix("/") for path in named_paths(ROOT / "docs" / "architecture.md")}
    for top in ("serve_app", "deployments"):
        packages = {str(path.parent.relative_to(ROOT)) for path in (ROOT / top).glob("*/__init__.py")}
        assert packages
        assert packages <= named
