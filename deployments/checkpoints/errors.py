"""The one error of this folder."""

from __future__ import annotations

from collections.abc import Sequence


class CheckpointError(Exception):
    """A checkpoint can't be found, read or used; the message is one sentence for the operator."""


def first_few(names: Sequence[str]) -> str:
    """Up to five of the names and how many more there are, for a message."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def on_one_line(error: Exception) -> str:
    """What another library's error says, for the end of a sentence."""
    return " ".join(str(error).split()) or type(error).__name__
