"""Imports point one way, and Ray stays at the edge."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("serve_app", "deployments", "etude", "loadtests")


def imported(source: str, module: str) -> Iterator[str]:
    """The absolute name of everything `source`, the text of `module`, imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*parents, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                yield str(node.args[0].value)


def forbidden(path: Path, source: str) -> list[str]:
    """The imports of the file at `path` (from the project's root) that break a rule."""
    module = ".".join(path.with_suffix("").parts)
    names = set(imported(source, module))

    def some(package: str) -> list[str]:
        return sorted(name for name in names if name == package or name.startswith(f"{package}."))

    broken = []
    if path.name != "deployment.py" and path != Path("serve_app/graph.py"):
        broken += some("ray")
    if path.parts[0] == "deployments":
        broken += some("serve_app")
    if path.parts[0] != "etude":
        broken += some("etude")
    if path.name == "scheduler.py":
        broken += some("torch")
    return broken


@pytest.mark.parametrize(
    ("path", "source", "culprit"),
    [
        ("serve_app/api/app.py", "from ray import serve", "ray"),
        ("serve_app/api/app.py", "def late():\n    import ray.serve", "ray.serve"),
        ("serve_app/pipeline/pipeline.py", "import importlib\nimportlib.import_module('ray')", "ray"),
        ("deployments/language_model/engine/engine.py", "import ray", "ray"),
        ("loadtests/bench_engine.py", "import ray", "ray"),
        ("deployments/batching.py", "from serve_app import settings", "serve_app"),
        (
            "deployments/batching.py",
            "from serve_app.settings.application import Settings",
            "serve_app.settings.application",
        ),
        ("serve_app/settings/application.py", "import etude.random_checkpoint", "etude.random_checkpoint"),
        ("loadtests/bench_engine.py", "from etude.random_checkpoint import main", "etude.random_checkpoint"),
        ("deployments/language_model/engine/scheduler.py", "import torch.nn as nn", "torch.nn"),
        ("deployments/language_model/engine/scheduler.py", "from torch import Tensor", "torch"),
    ],
)
def test_a_forbidden_import_is_noticed(path: str, source: str, culprit: str) -> None:
    assert culprit in forbidden(Path(path), source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("serve_app/graph.py", "from ray import serve"),
        ("deployments/language_model/deployment.py", "from ray import serve"),
        ("serve_app/pipeline/pipeline.py", "from deployments.messages import Clip"),
        ("etude/random_checkpoint.py", "from etude.draws import draw_weights"),
        ("deployments/language_model/model.py", "import torch"),
        ("deployments/batching.py", "import raylib"),
    ],
)
def test_an_allowed_import_is_left_alone(path: str, source: str) -> None:
    assert forbidden(Path(path), source) == []


def test_a_relative_import_is_resolved() -> None:
    assert "deployments.language_model.model" in set(
        imported("from .model import x", "deployments.language_model.engine.engine")
    )
    assert "deployments.messages" in set(
        imported("from .. import messages", "deployments.language_model.engine.engine")
    )


def test_every_import_keeps_to_the_rules() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(files) > 20
    broken = {str(path): forbidden(path.relative_to(ROOT), path.read_text()) for path in files}
    assert {path: names for path, names in broken.items() if names} == {}
