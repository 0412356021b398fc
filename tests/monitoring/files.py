"""What monitoring/ holds, read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.paths import ROOT

FOLDER = ROOT / "monitoring"
PROMETHEUS, RULES, RULE_TESTS = (
    FOLDER / "prometheus.yaml",
    FOLDER / "rules.yaml",
    sorted(FOLDER.glob("rules*_test.yaml")),
)
DASHBOARD, DOCUMENT = FOLDER / "dashboard.json", FOLDER / "METRICS.md"

_NAME = re.compile(r"\b(musicgen_[a-z_]+)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"([a-z_]+)(=~|!=|!~|=)\"([^\"]*)\"")
_PART = re.compile(r"_(bucket|count|sum)$")


def needs(program: str) -> str:
    """Where it is. Skips, which in CI fails, where Debian's package prometheus is not installed."""
    path = shutil.which(program)
    if path is None:
        pytest.skip("not installed: prometheus; `apt-get install --no-install-recommends prometheus` brings it")
    return path


def promtool(*arguments: object) -> str:
    """What it prints. Raises: AssertionError with that, when it finds fault."""
    command = [needs("promtool"), *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


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


def expressions_of_rules() -> list[str]:
    return [rule["expr"] for rule in rules()]


@dataclass(frozen=True)
class Selector:
    """metric: without the part of a histogram, which is `part`. matchers: label, operator, value."""

    metric: str
    part: str
    matchers: tuple[tuple[str, str, str], ...]


def selectors(expression: str) -> list[Selector]:
    """Of the list's metrics; those that rules have recorded have a colon in their names."""
    return [
        Selector(
            metric=_PART.sub("", name),
            part="".join(_PART.findall(name)),
            matchers=tuple(_MATCHER.findall(matchers)),
        )
        for name, matchers in _NAME.findall(expression)
    ]


def _filled(expression: str) -> str:
    return expression.replace("$__rate_interval", "5m").replace("$model", ".*").replace("$__range", "1h")
