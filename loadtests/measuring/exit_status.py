"""How a demonstration or a load test ends, for scripts and for people."""

from __future__ import annotations

import sys
from collections.abc import Callable

from serve_app.cli.terminal import Progress


def exit_status(shown: Callable[[Progress], bool], *errors: type[Exception]) -> int:
    """0 when it is shown, 1 when it is not or one of these errors says why it can't be, 130 after Ctrl-C."""
    with Progress(sys.stdout) as progress:
        try:
            return 0 if shown(progress) else 1
        except errors as error:
            progress.line(str(error))
            return 1
        except KeyboardInterrupt:
            progress.line("stopped; nothing is left running")
            return 130
