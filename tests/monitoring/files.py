"""What monitoring/ holds, read."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.checkpoints.root import ROOT

FOLDER = ROOT / "monitoring"
PROMETHEUS, RULES, RULE_TESTS = FOLDER / "prometheus.yaml", FOLDER / "rules.yaml", FOLDER / "rules_test.yaml"
DASHBOARD, DOCUMENT = FOLDER / "dashboard.json", FOLDER / "METRICS.md"

_NAME = re.compile(r"\bmusicgen_[a-z_]+")


def needs(program: str) -> str:
    """Where it is. Skips, which in CI fails, where Debian's package prometheus is not installed."""
    path = shutil.which(program)
    if path is None:
        pytest.skip("not installed: prometheus; `apt-get install --no-install-recommends prometheus` brings it")
    return path


def rules() -> list[dict[str, Any]]:
    """All of them, recorded ones and alerts."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def expressions_of_panels(dashboard: Path) -> list[str]:
    """With values for Grafana's own variables."""
    return [_filled(target["expr"]) for panel in panels(dashboard) for target in panel["targets"]]


def panels(dashboard: Path) -> list[dict[str, Any]]:
    """Those that show something; rows aside."""
    return [panel for panel in json.loads(dashboard.read_text())["panels"] if panel["type"] != "row"]


def metrics_in(expression: str) -> Iterator[str]:
    """Names of the list, without the parts of a histogram."""
    for name in _NAME.findall(expression):
        yield re.sub(r"_(bucket|count|sum)$", "", name)


def _filled(expression: str) -> str:
    return expression.replace("$__rate_interval", "5m").replace("$model", ".*").replace("$__range", "1h")
