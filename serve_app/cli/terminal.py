"""What a person at the terminal sees: results, errors of one line, steps with their seconds, and bars.

Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from serve_app.client import Job

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

_LIVE_S = 0.2
_STILL_S = 15.0

EXIT_CODES = (
    "Exit codes: 0 done; 1 it failed; 2 the command line is wrong; 130 or 143 it was stopped (Ctrl-C or SIGTERM)."
)


class CommandError(Exception):
    """What was asked for can't be done: one line for the person at the terminal.

    Args:
        message: what is wrong, and what would be right.
        status: the exit status.
    """

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


def say(text: str) -> None:
    """A line for a person, on standard error."""
    print(printable(text), file=sys.stderr, flush=True)


def print_json(document: object) -> None:
    """The one document of `--json`, on standard output."""
    print(json.dumps(document, ensure_ascii=False, indent=2), flush=True)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on a terminal; elsewhere a line for each row, for `grep` and `cut`, without headings."""
    cells = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in cells:
            print("  ".join(row).rstrip())
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in cells:
        table.add_row(*map(Text, row))
    Console().print(table)


def printable(text: str) -> str:
    """Without control characters: what a service sends shall not drive the terminal."""
    return "".join(each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text)


def shortened(text: str, width: int = 40) -> str:
    """Cut to a width, with an ellipsis."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def is_terminal(stream: TextIO) -> bool:
    """Whether lines on it can be written over."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


class Progress:
    """Lines on `stream`. On a terminal the last one counts the seconds; elsewhere it is repeated now and then."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = is_terminal(stream)
        self._start = time.monotonic()
        self._step: str | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()

    def step(self, text: str) -> None:
        """Something begins, and goes on until the next step or line. The same again says nothing."""
        with self._lock:
            if text != self._step:
                self._finish()
                self._step = text
                self._write(text)

    def update(self, text: str) -> None:
        """How far the step has come: takes the place of its text, and is seen when the line is written again."""
        with self._lock:
            self._step = text

    def line(self, text: str) -> None:
        """Something that is so; ends the step."""
        with self._lock:
            self._finish()
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def close(self) -> None:
        """Ends the step and the counting."""
        self._closed.set()
        self._ticker.join()
        with self._lock:
            self._finish()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _tick(self) -> None:
        while not self._closed.wait(_LIVE_S if self._live else _STILL_S):
            with self._lock:
                if self._step is not None:
                    self._write(self._step if self._live else f"still {self._step}")

    def _write(self, text: str) -> None:
        line = f"[{time.monotonic() - self._start:6.1f} s] {text}"
        if self._live:
            # Cut to the width: a wrapped line can't be overwritten.
            self._stream.write(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}")
        else:
            self._stream.write(f"{line}\n")
        self._stream.flush()

    def _finish(self) -> None:
        if self._live and self._step is not None:
            self._write(self._step)
            self._stream.write("\n")
            self._stream.flush()
        self._step = None


class Bar:
    """A bar on a terminal, and elsewhere a line for each new text.

    Args:
        stream: Where it is drawn.
        total_s: Seconds of music that there will be.
        text: What goes on at first.
    """

    def __init__(self, stream: TextIO, total_s: float, text: str = "submitting") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._stream = stream
        self._total_s = total_s
        self._told: str | None = None
        self._live = is_terminal(stream)
        console = Console(file=stream, force_terminal=self._live, highlight=False)
        self._progress = RichProgress(
            TextColumn("{task.description}: {task.percentage:3.0f}%", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:.1f} of {task.total:.1f} s of music,"),
            TimeElapsedColumn(),
            console=console,
            disable=not self._live,
            expand=True,
        )
        self._task = self._progress.add_task(text, total=total_s)

    def update(self, text: str, share: float) -> None:
        """What goes on, and the share of the music that is there, from 0 to 1."""
        text = printable(text)
        if self._live:
            self._progress.update(self._task, description=text, completed=share * self._total_s, refresh=True)
        elif text != self._told:
            self._stream.write(f"{text}\n")
            self._stream.flush()
        self._told = text

    def update_unknown(self, text: str, num_bytes: int) -> None:
        """What goes on, where nothing but the bytes that came can be told."""
        text = f"{printable(text)}, {num_bytes / 1000:.0f} kB"
        if self._live:
            self._progress.update(self._task, description=text, refresh=True)

    def show(self, job: Job) -> None:
        """A job as it stands now."""
        self.update(_text(job), job["progress"])

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()


def _text(job: Job) -> str:
    if job["state"] == "queued":
        return f"queued, number {job['position']}"
    state: str = job["state"]
    return {"running": "making", "succeeded": "made"}.get(state, state)
