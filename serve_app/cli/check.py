"""`musicgen check`: says whether deploy files are right, to the last key, and starts nothing.

For use before `serve run` and `serve deploy`, which ignore keys they don't know.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from serve_app.cli.options import Json, config_path
from serve_app.cli.terminal import DONE, FAILED, print_json


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Deploy files.", show_default=False)],
    json: Json = False,
) -> int:
    """Check deploy files, to the last key, and start nothing. `serve run` and `serve deploy` ignore unknown keys.

    Example: musicgen check my-service.yaml
    """
    from serve_app.launcher.deploy_file import DeployFileError
    from serve_app.launcher.deployment import load_deploy_file

    found = []
    for path in files:
        fault = None
        try:
            load_deploy_file(config_path(path) or path)
        except DeployFileError as error:
            fault = str(error)
            print(error, file=sys.stderr)
        else:
            if not json:
                print(f"{path}: right")
        found.append({"file": str(path), "right": fault is None, "error": fault})
    if json:
        print_json({"files": found})
    return DONE if all(each["right"] for each in found) else FAILED
