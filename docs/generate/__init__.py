"""Pages that are made from the code, so that they can't say anything else. `python -m docs.generate` writes them.

Tests compare each file with what is made now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from docs.generate.command_page import command_page
from docs.generate.errors_page import errors_page
from docs.generate.monitoring_pages import log_document, metrics_document
from docs.generate.packages_diagram import packages_diagram
from docs.generate.settings_page import settings_page

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "python -m docs.generate"

PAGES: Mapping[str, Callable[[], str]] = {
    "docs/command.md": command_page,
    "docs/configuration.md": settings_page,
    "docs/errors.md": errors_page,
    "docs/images/packages.svg": packages_diagram,
    "monitoring/LOGS.md": log_document,
    "monitoring/METRICS.md": metrics_document,
}
