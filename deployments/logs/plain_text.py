"""Text for a log in which every event is one line, whatever is in it.

What ends a line for somebody (terminals, editors, Python's `splitlines`), moves a cursor, turns the direction of
writing or can't be written as UTF-8 stands there as its escape sequence. What is long loses its middle.
"""

from __future__ import annotations

import traceback
import unicodedata

MAX_CHARS = 500
MAX_TRACEBACK_LINES = 120
# Begins every line of a traceback: nothing in it can pass for a line of the log.
BAR = "  | "
# Controls, formats (the direction of writing among them), halves of characters, ends of lines and paragraphs.
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def plain(text: str, max_chars: int = MAX_CHARS) -> str:
    """The text on one line; of one that is longer, its beginning and end."""
    if len(text) > max_chars:
        half = max_chars // 2
        text = f"{text[:half]} …{len(text) - 2 * half} characters… {text[-half:]}"
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(each) if unicodedata.category(each) in _ESCAPED else each for each in text)


def plain_traceback(error: BaseException) -> str:
    """The error, where it came from, and what it came from. Its message may be of a client's making."""
    lines = "".join(traceback.format_exception(error)).rstrip("\n").split("\n")
    if len(lines) > MAX_TRACEBACK_LINES:
        half = MAX_TRACEBACK_LINES // 2
        lines = [*lines[:half], f"… {len(lines) - 2 * half} lines …", *lines[-half:]]
    return "\n".join(BAR + plain(line) for line in lines)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
