"""The application, whose language models write down what they make; a deploy file names it as its `import_path`."""

from __future__ import annotations

from typing import Any

from ray.serve import Application

from tests.service.conftest import recorded_build


def build(args: dict[str, Any]) -> Application:
    return recorded_build(args)
