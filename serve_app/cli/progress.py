"""What a person sees of a run: a line for each step, with the seconds since the start.

What a person sees of a generation on its way.
"""

from __future__ import annotations

import shutil
import threading
import time
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

from serve_app.client import Generation

_LIVE_S = 0.2
_STILL_S = 15.0


class Progress:
    """Lines on `stream`. On a terminal the last one counts the seconds; elsewhere it is repeated now and then."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
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


_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f} of {total:.1f} s of music, {elapsed}"


class _Tqdm(tqdm):  # type: ignore[misc]
    """Without the thread that would watch over it."""

    monitor_interval = 0


class Bar:
    """A bar on a terminal, and elsewhere a line for each state. total_s: seconds of music, of all variations."""

    def __init__(self, stream: TextIO, total_s: float) -> None:
        self._stream = stream
        self._total_s = total_s
        self._told: str | None = None
        hidden = not stream.isatty()
        self._bar = _Tqdm(total=total_s, desc="submitting", file=stream, disable=hidden, bar_format=_FORMAT)

    def show(self, generation: Generation) -> None:
        """As it stands now."""
        text = _text(generation)
        if self._bar.disable:
            if text != self._told:
                self._stream.write(f"{text}\n")
                self._stream.flush()
            self._told = text
            return
        self._bar.set_description_str(text, refresh=False)
        self._bar.n = generation["progress"] * self._total_s
        self._bar.refresh()

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()


def _text(generation: Generation) -> str:
    if generation["state"] == "queued":
        return f"queued, number {generation['position']}"
    state: str = generation["state"]
    return {"running": "making", "succeeded": "made"}.get(state, state)
