"""Where things are on this machine: what came with the packages, and what the service keeps.

Light to import: the command line asks here too.
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

# The folder that holds the packages: the project's root in a checkout, `site-packages` where a wheel was installed.
ROOT = Path(__file__).resolve().parents[1]

STATE_VARIABLE = "MUSICGEN_STATE"

_PACKAGE_SOURCE = re.compile(r"package:([a-z_][a-z0-9_]*)")
_CHECKPOINT = "checkpoint"


def state_folder() -> Path:
    """Where relative folders of the settings begin (cache, database, offloaded weights).

    What MUSICGEN_STATE names; without it the project's root in a checkout, and else the folder a process runs in.
    """
    named = os.environ.get(STATE_VARIABLE)
    if named:
        return Path(named).expanduser().resolve()
    return ROOT if is_checkout() else Path.cwd()


def state_path(text: str) -> Path:
    """A folder or file as settings have it (`/…`, `~…`, `./…`, `../…`), as a whole path."""
    return (state_folder() / Path(text).expanduser()).resolve()


def is_checkout() -> bool:
    """Whether the packages run from a checkout rather than from where a wheel was installed."""
    return (ROOT / "pyproject.toml").is_file()


def is_package_source(source: str) -> bool:
    """Whether a checkpoint's source is written `package:NAME`."""
    return _PACKAGE_SOURCE.fullmatch(source) is not None


def package_checkpoint(source: str) -> Path:
    """The folder `checkpoint` in the installed package that `package:NAME` names. The package is not imported.

    Raises: LookupError where there is no such package, or no checkpoint in it.
    """
    match = _PACKAGE_SOURCE.fullmatch(source)
    assert match is not None, source
    spec = importlib.util.find_spec(match[1])
    for place in (spec and spec.submodule_search_locations) or ():
        folder = Path(place) / _CHECKPOINT
        if folder.is_dir():
            return folder.resolve()
    what = "package" if spec is None else f"folder {_CHECKPOINT} in the package"
    raise LookupError(f"{source}: there is no {what} {match[1]} here")
