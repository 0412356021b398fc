"""docs/command.md: the command `musicgen` and its options, from `serve_app.cli`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import Enum
from typing import Any

import typer.main

from docs.generate.markdown import table
from serve_app.cli.main import app
from serve_app.cli.terminal import EXIT_CODES

_HEAD = f"""\
# The command `musicgen`

Made by `python -m docs.generate` from `serve_app/cli`. In a checkout the command is `.venv/bin/musicgen`; after `pip
install` it is `musicgen`. `musicgen --install-completion` has your shell complete it.

Results go to standard output, everything else to standard error. `--json` prints one JSON document instead; `NO_COLOR`
turns colours off. {EXIT_CODES}
"""


def command_page() -> str:
    """The whole page."""
    root = typer.main.get_command(app)
    return _HEAD + "".join(_commands("musicgen", root))


def _commands(name: str, command: Any) -> Iterator[str]:
    for each in getattr(command, "commands", {}).values():
        if not each.hidden:
            whole = f"{name} {each.name}"
            yield f"\n{'#' * (whole.count(' ') + 1)} {whole}\n\n{_told(each)}"
            yield from _commands(whole, each)


def _told(command: Any) -> str:
    text = inspect.cleandoc(command.help or "")
    text, _, example = text.partition("Example: ")
    lines = [" ".join(part.split()) for part in text.strip().split("\n\n")]
    told = "\n\n".join(lines) + "\n"
    if example:
        told += f"\n```text\n{example.strip()}\n```\n"
    rows = [_row(each) for each in command.params if not getattr(each, "hidden", False) and each.name != "help"]
    if hasattr(command, "commands") or not rows:
        return told
    return told + "\n" + table(("option", "what", "default"), rows)


def _row(parameter: Any) -> tuple[str, str, str]:
    name = parameter.metavar or parameter.name.upper()
    if parameter.param_type_name == "option":
        name = f"{', '.join(parameter.opts)} {_value(parameter)}".strip()
    variable = f" Or in {parameter.envvar}." if parameter.envvar else ""
    return f"`{name}`", f"{parameter.help or ''}{variable}", _default(parameter)


def _value(parameter: Any) -> str:
    """What stands after an option."""
    if parameter.is_flag:
        return ""
    kind = parameter.type_descriptor.annotation
    if parameter.metavar is None and isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(str(each.value) for each in kind)
    return str(parameter.metavar or kind.__name__.upper())


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    shown = parameter.show_default
    value = shown if isinstance(shown, str) else parameter.default
    value = value.value if isinstance(value, Enum) else value
    if value is None or value is False or value == "" or callable(value):
        return ""
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
