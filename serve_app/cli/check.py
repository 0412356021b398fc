"""`python -m serve_app.cli.check FILE…`: says whether deploy files are right, to the last key, and starts nothing.

For use before `serve run` and `serve deploy`, which pass over keys they don't know. Exit status 1 if one isn't right.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from serve_app.launcher.deploy_file import DeployFileError
from serve_app.launcher.deployment import load_deploy_file


def main(arguments: list[str]) -> int:
    """Checks the files named; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m serve_app.cli.check", description="Checks Serve deploy files.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    status = 0
    for path in parser.parse_args(arguments).files:
        try:
            load_deploy_file(path)
        except DeployFileError as error:
            print(error, file=sys.stderr)
            status = 1
        else:
            print(f"{path}: right")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
