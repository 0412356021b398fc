"""`musicgen`: one command for all that a person does with the service.

Each command is a file beside this one. What a command needs is imported when it runs, so that `--help` is there at
once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Annotated, Any

import typer

from serve_app.cli import check, compose, jobs, keys, migrate, models, node, serve
from serve_app.cli.terminal import DONE, EXIT_CODES, INTERRUPTED, WRONG_USAGE, CommandError, say

app = typer.Typer(
    name="musicgen",
    help="Text goes in, music comes out: run the service, ask it for music, look after it.",
    epilog=EXIT_CODES,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Say which version this is, and end.")] = False,
) -> None:
    """Text goes in, music comes out: run the service, ask it for music, look after it.

    Example: musicgen serve, and in another terminal: musicgen compose "a slow waltz" --out waltz.mp3
    """
    if version:
        print(f"musicgen-serve {metadata.version('musicgen-serve')}")
        raise typer.Exit(DONE)
    if context.invoked_subcommand is None:
        context.get_help()
        raise typer.Exit(WRONG_USAGE)


def _add_group(name: str, text: str, commands: dict[str, Callable[..., Any]]) -> None:
    group = typer.Typer(
        name=name, help=text, subcommand_metavar=" | ".join(commands), epilog=EXIT_CODES, no_args_is_help=False
    )

    @group.callback(invoke_without_command=True)
    def without_command(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            raise CommandError(f"say what to do: {context.command_path} {' | '.join(commands)}", WRONG_USAGE)

    without_command.__doc__ = text
    for command_name, function in commands.items():
        group.command(command_name, epilog=EXIT_CODES)(function)
    app.add_typer(group)


app.command("serve", epilog=EXIT_CODES)(serve.serve)
app.command("compose", epilog=EXIT_CODES)(compose.compose)
_add_group("jobs", jobs.HELP, jobs.COMMANDS)
app.command("models", epilog=EXIT_CODES)(models.models)
_add_group("keys", keys.HELP, keys.COMMANDS)
app.command("check", epilog=EXIT_CODES)(check.check)
_add_group("migrate", migrate.HELP, migrate.COMMANDS)
_add_group("node", node.HELP, node.COMMANDS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Does as told; returns the exit status. What is wrong is one line on standard error."""
    try:
        status = app(args=None if arguments is None else list(arguments), prog_name="musicgen", standalone_mode=False)
    except CommandError as error:
        say(str(error))
        return error.status
    except typer.TyperException as error:
        say(_usage_line(error))
        return WRONG_USAGE
    except typer.Abort:
        return INTERRUPTED
    return status if isinstance(status, int) else DONE


def _usage_line(error: typer.TyperException) -> str:
    """What is wrong with the command line, and where its help is."""
    told = error.format_message() if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    command = "musicgen" if context is None else context.command_path
    return f"{' '.join(told.split())} See: {command} --help"


def run() -> None:
    """The program."""
    sys.exit(main())


if __name__ == "__main__":
    run()
