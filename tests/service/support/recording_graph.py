"""The application with language models that record what they make; a deploy file names it as its `import_path`."""

from __future__ import annotations

from typing import Any

from ray.serve import Application

from tests.service.conftest import build_with_recording


def build(args: dict[str, Any]) -> Application:
    return build_with_recording(args)
