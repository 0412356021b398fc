"""The options that several commands have in common, and what they mean."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import httpx
import typer

from deployments.paths import STATE_VARIABLE, state_folder
from serve_app.cli.terminal import CommandError
from serve_app.client import KEY_VARIABLE

if TYPE_CHECKING:
    from deployments.messages import CacheMode
    from serve_app.settings.storage import DatabaseSettings

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
DEFAULT_CONFIG = CONFIGS / "local.yaml"
DEFAULT_URL = "http://127.0.0.1:8000"

DEFAULT_PROMPT = "a calm piano melody over soft strings"
DEFAULT_DURATION_S = "10"
MAX_DURATION_S = 30

# The containers of the service, by the ends of their files' names (`serve_app/sound/containers.py` has more of them).
CONTAINERS = {f".{name}": name for name in ("wav", "flac", "mp3", "ogg", "pcm")}


class QueueChoice(str, Enum):
    """Which jobs go first."""

    REALTIME = "realtime"
    BATCH = "batch"


class CacheChoice(str, Enum):
    """Whether a clip that the service has cached will do."""

    USE = "use"
    REFRESH = "refresh"
    OFF = "off"


def _checked_url(url: str) -> str:
    try:
        port = httpx.URL(url).port
    except httpx.InvalidURL:
        port = -1
    is_valid = port is None or 0 < port < 2**16
    if not is_valid or re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url) is None:
        raise typer.BadParameter(f"must be an address like {DEFAULT_URL}")
    return url.rstrip("/")


def _checked_key(key: str | None) -> str | None:
    if key and not re.fullmatch("[!-~]+", key):
        raise typer.BadParameter("the API key must be printable ASCII without spaces")
    return key or None


def _checked_seconds(seconds: float) -> float:
    if not 0.001 <= seconds < float("inf"):
        raise typer.BadParameter("must be a number of seconds, above 0")
    return seconds


def _checked_out(out: Path | None) -> Path | None:
    if out is None:
        return None
    if out.suffix.lower() not in CONTAINERS:
        raise typer.BadParameter(f"must end in one of {', '.join(CONTAINERS)}")
    if not out.parent.is_dir():
        raise typer.BadParameter(f"is in a folder that does not exist: {out.parent}")
    return out


def _checked_job_id(job_id: str) -> str:
    if not re.fullmatch("[0-9a-f]{32}", job_id):
        raise typer.BadParameter("a job's id is 32 hexadecimal digits, as `musicgen jobs list` shows it")
    return job_id


Url = Annotated[
    str,
    typer.Option("--url", envvar="MUSICGEN_URL", metavar="URL", callback=_checked_url, help="Address of the service."),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar=KEY_VARIABLE,
        metavar="KEY",
        callback=_checked_key,
        help="API key, where the service asks for one. Better in the variable, where other users don't see it.",
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document on standard output; words go to standard error."),
]
Words = Annotated[str, typer.Argument(metavar='"words"', help="What the music is like.", show_default=False)]
Duration = Annotated[
    float, typer.Option("--duration", metavar="SECONDS", callback=_checked_seconds, help="Seconds of music.")
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", help="The same seed with the same words gives the same sound."),
]
Model = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="One of those that `musicgen models` lists.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        callback=_checked_out,
        help=f"Where the sound goes; the end of its name says how: {', '.join(CONTAINERS)}. Without it a .wav file "
        "here, named after the words.",
    ),
]
JobId = Annotated[str, typer.Argument(metavar="ID", callback=_checked_job_id, help="The job's id.", show_default=False)]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Deploy file of the service whose database it is.", show_default="local"
    ),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option("--records", metavar="URL", help="URL of the database, instead of a deploy file.", show_default=False),
]
StateDir = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        metavar="FOLDER",
        help=f"Folder for clips, cache and database (or {STATE_VARIABLE}). Without it: this folder, or the checkout's.",
        show_default=False,
    ),
]


def use_state_folder(folder: Path | None) -> None:
    """Makes the folder that holds. Every process started from here on has it in its environment, as a whole path."""
    if folder is not None:
        os.environ[STATE_VARIABLE] = str(folder)
    os.environ[STATE_VARIABLE] = str(state_folder())


def config_path(text: str | Path | None) -> Path | None:
    """The deploy file that is meant: a path, or the name of one that comes with the package. None: there is none."""
    if text is None:
        return _near(DEFAULT_CONFIG)
    path = Path(text)
    if path.is_file():
        return path
    shipped = CONFIGS / f"{path.name.removesuffix('.yaml')}.yaml"
    return _near(shipped) if len(path.parts) == 1 and shipped.is_file() else None


def shipped_configs() -> str:
    """The names of the deploy files that come with the package, for a message."""
    return ", ".join(sorted(path.stem for path in CONFIGS.glob("*.yaml")))


def _near(path: Path) -> Path:
    """As short as it can be written from here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_absolute() and path.is_relative_to(here) else path


def database_settings(config: Path | None, url: str | None) -> DatabaseSettings:
    """Which database these options mean. Raises: CommandError."""
    from pydantic import SecretStr, ValidationError

    from serve_app.settings import sentence
    from serve_app.settings.storage import DatabaseSettings

    if url is not None:
        if config is not None:
            raise typer.BadParameter("can't be used together with --config", param_hint="--records")
        try:
            return DatabaseSettings(url=SecretStr(url))
        except ValidationError as error:
            raise CommandError(sentence(error, "--records")) from None
    from serve_app.launcher.deploy_file import DeployFileError
    from serve_app.launcher.deployment import load_deploy_file

    path = config_path(config) or Path(config or DEFAULT_CONFIG)
    try:
        applications = load_deploy_file(path).applications
    except DeployFileError as error:
        raise CommandError(str(error)) from error
    for application in applications:
        if application.settings is not None:
            return application.settings.records
    raise CommandError(f"{path}: none of its applications is this one; name the database by --records")


class OptionError(Exception):
    """An option can't be used; one sentence that names it and says what would be right."""


@dataclass(frozen=True)
class ServeOptions:
    """What a run is told.

    Attributes:
        config: The deploy file.
        seed: None leaves it to the service.
        port: None keeps the file's.
        cache: Whether a cached clip will do.
        once: End after the clip.
        api_key: Of a service that asks for one.
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
    def read(cls, environment: Mapping[str, str], flags: Mapping[str, str | None] | None = None) -> ServeOptions:
        """CONFIG, PROMPT, DURATION (seconds), SEED, PORT, CACHE, ONCE, MUSICGEN_API_KEY; an empty one is not given.

        Args:
            environment: The variables.
            flags: The same from the command line, by the variables' names; these go first.

        Raises:
            OptionError: One can't be used.
        """
        flags = flags or {}
        given = {name: value.strip() for name, value in environment.items()}
        given |= {name: value.strip() for name, value in flags.items() if value is not None}

        def called(name: str) -> str:
            return f"--{name.lower()}" if flags.get(name) is not None else name

        config = config_path(given.get("CONFIG") or None)
        if config is None:
            raise OptionError(
                f"{called('CONFIG')} is {given.get('CONFIG') or str(DEFAULT_CONFIG)!r}, which is no file; those that "
                f"come with the package are named {shipped_configs()}"
            )
        return cls(
            config=config,
            prompt=given.get("PROMPT") or DEFAULT_PROMPT,
            duration_ms=_duration_ms(called("DURATION"), given.get("DURATION") or DEFAULT_DURATION_S),
            seed=_whole_number(called("SEED"), given.get("SEED"), 0, 2**64 - 1),
            port=_whole_number(called("PORT"), given.get("PORT"), 1, 65535),
            cache=_cache_mode(called("CACHE"), given.get("CACHE") or "use"),
            once=_flag("ONCE", given.get("ONCE")),
            api_key=given.get(KEY_VARIABLE) or None,
        )


def _duration_ms(name: str, text: str) -> int:
    try:
        duration_s = float(text)
    except ValueError:
        duration_s = math.nan
    if not 0.001 <= duration_s <= MAX_DURATION_S:
        raise OptionError(f"{name} is {text!r}; it must be a number of seconds, above 0 and {MAX_DURATION_S} at most")
    return round(duration_s * 1000)


def _whole_number(name: str, text: str | None, low: int, high: int) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and low <= int(text) <= high):
        raise OptionError(f"{name} is {text!r}; it must be a whole number from {low} to {high}")
    return int(text)


def _cache_mode(name: str, text: str) -> CacheMode:
    modes = [each.value for each in CacheChoice]
    if text not in modes:
        raise OptionError(f"{name} is {text!r}; it must be one of {', '.join(modes)}")
    return text  # type: ignore[return-value]  # one of the modes


def _flag(name: str, text: str | None) -> bool:
    if text not in (None, "", "0", "1"):
        raise OptionError(f"{name} is {text!r}; it must be 1 or 0")
    return text == "1"
