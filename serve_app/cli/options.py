"""What `make run` is told, through the environment so that any prompt survives the shell.

The options by which a command is told which database it is about: that of a deploy file, or one by its URL.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

from pydantic import SecretStr, ValidationError

from deployments.messages import CacheMode
from serve_app.launcher.deploy_file import DeployFileError
from serve_app.launcher.deployment import load_deploy_file
from serve_app.settings.model import MAX_DURATION_MS
from serve_app.settings.storage import RecordsSettings
from serve_app.settings.strict import sentence

API_KEY = "MUSICGEN_API_KEY"
DEFAULT_CONFIG = Path("serve_app/configs/local.yaml")
DEFAULT_PROMPT = "a calm piano melody over soft strings"
DEFAULT_DURATION_S = "10"


class OptionError(Exception):
    """An option can't be used; one sentence that names it and says what would be right."""


@dataclass(frozen=True)
class Options:
    """config: the deploy file. seed: None leaves it to the service. port: None keeps the file's.
    cache: whether a clip kept from before will do. once: end after the clip. api_key: of a service that asks for one.
    """

    config: Path
    prompt: str
    duration_ms: int
    seed: int | None
    port: int | None
    cache: CacheMode
    once: bool
    api_key: str | None = field(default=None, repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Options:
        """CONFIG, PROMPT, DURATION (seconds), SEED, PORT, CACHE, ONCE, MUSICGEN_API_KEY; an empty one is not given."""
        given = {name: value.strip() for name, value in environment.items()}
        config = Path(given.get("CONFIG") or DEFAULT_CONFIG)
        if not config.is_file():
            raise OptionError(f"CONFIG is {str(config)!r}, which is no file; serve_app/configs/ holds those there are")
        return cls(
            config=config,
            prompt=given.get("PROMPT") or DEFAULT_PROMPT,
            duration_ms=_duration_ms(given.get("DURATION") or DEFAULT_DURATION_S),
            seed=_whole_number("SEED", given.get("SEED"), 0, 2**64 - 1),
            port=_whole_number("PORT", given.get("PORT"), 1, 65535),
            cache=_cache_mode(given.get("CACHE") or "use"),
            once=_flag("ONCE", given.get("ONCE")),
            api_key=given.get(API_KEY) or None,
        )


def _duration_ms(text: str) -> int:
    try:
        duration_s = float(text)
    except ValueError:
        duration_s = math.nan
    if not 0.001 <= duration_s <= MAX_DURATION_MS / 1000:
        raise OptionError(
            f"DURATION is {text!r}; it must be a number of seconds, above 0 and {MAX_DURATION_MS // 1000} at most"
        )
    return round(duration_s * 1000)


def _whole_number(name: str, text: str | None, low: int, high: int) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and low <= int(text) <= high):
        raise OptionError(f"{name} is {text!r}; it must be a whole number from {low} to {high}")
    return int(text)


def _cache_mode(text: str) -> CacheMode:
    for mode in get_args(CacheMode):
        if text == mode:
            return cast(CacheMode, mode)
    raise OptionError(f"CACHE is {text!r}; it must be one of {', '.join(get_args(CacheMode))}")


def _flag(name: str, text: str | None) -> bool:
    if text not in (None, "", "0", "1"):
        raise OptionError(f"{name} is {text!r}; it must be 1 or 0")
    return text == "1"


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
