"""The options by which a command is told which database it is about: that of a deploy file, or one by its URL."""

from __future__ import annotations

import argparse
from pathlib import Path

from pydantic import SecretStr, ValidationError

from serve_app.records.settings import RecordsSettings
from serve_app.run.deploy_file import DeployFileError
from serve_app.run.deployment import load_deploy_file
from serve_app.run.options import DEFAULT_CONFIG, OptionError
from serve_app.strict import sentence


def add_to(parser: argparse.ArgumentParser) -> None:
    """Gives it `--config` and `--records`, of which one can be used."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--config",
        type=Path,
        default=DEFAULT_CONFIG,
        metavar="DEPLOYFILE",
        help="of the service whose records they are; default: %(default)s",
    )
    which.add_argument("--records", metavar="URL", help="of the database, instead of a deploy file")


def chosen(options: argparse.Namespace) -> RecordsSettings:
    """What these options say. Raises: OptionError."""
    if options.records is not None:
        try:
            return RecordsSettings(url=SecretStr(options.records))
        except ValidationError as error:
            raise OptionError(sentence(error, "--records")) from None
    try:
        applications = load_deploy_file(options.config).applications
    except DeployFileError as error:
        raise OptionError(str(error)) from error
    for application in applications:
        if application.settings is not None:
            return application.settings.records
    raise OptionError(f"{options.config}: none of its applications is this one; name the database by --records")
