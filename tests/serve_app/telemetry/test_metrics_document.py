from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from deployments.telemetry.metric import Metric
from serve_app.telemetry import catalogue
from serve_app.telemetry.catalogue import METRIC_LABELS, METRICS
from serve_app.telemetry.documents import metrics_document as document
from tests.monitoring.files import DOCUMENT


def test_the_document_is_that_of_the_list() -> None:
    made = "it is not what `python -m serve_app.telemetry.documents metrics > monitoring/METRICS.md` makes"
    assert DOCUMENT.read_text() == document(), made


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_label_is_explained(metric: Metric) -> None:
    own = set(re.findall(r"\b([a-z]+): ", metric.help))
    assert set(metric.labels) <= METRIC_LABELS.keys() | own


def test_every_metric_is_recorded_somewhere(project_root: Path) -> None:
    names = {name for name, value in vars(catalogue).items() if isinstance(value, Metric)}
    used = {
        node.id
        for package in ("serve_app", "deployments")
        for path in (project_root / package).rglob("*.py")
        if path.name != "catalogue.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    assert names - used == set()
