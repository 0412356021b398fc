"""What a person sees of a generation on its way."""

from __future__ import annotations

from types import TracebackType
from typing import TextIO

from tqdm import tqdm

from serve_app.submit.client import Generation

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
