"""Where relative sources begin: the folder that holds the packages, the project's root in a checkout."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
