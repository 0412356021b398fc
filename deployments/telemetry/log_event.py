"""Events of the log: a sentence for people, and a name and values for programs. Each event is one line.

With Serve's encoding TEXT the log has the sentence, with JSON the values too, each under its own name, and the event's
name as `event`.

Characters that end a line (for terminals, editors, Python's `splitlines`), move a cursor, turn the direction of writing
or can't be written as UTF-8 are written as escape sequences. A text that is too long loses its middle.
"""

from __future__ import annotations

import logging
import math
import re
import sys
import traceback
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

MAX_CHARS = 500
MAX_TRACEBACK_LINES = 120
# Begins every line of a traceback: nothing in it can pass for a line of the log.
BAR = "  | "
# Controls, formats (the direction of writing among them), halves of characters, ends of lines and paragraphs.
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def plain(text: str, max_chars: int = MAX_CHARS) -> str:
    """The text on one line; of a longer one, its beginning and end."""
    if len(text) > max_chars:
        half = max_chars // 2
        text = f"{text[:half]} …{len(text) - 2 * half} characters… {text[-half:]}"
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(each) if unicodedata.category(each) in _ESCAPED else each for each in text)


def plain_traceback(error: BaseException) -> str:
    """The error, its traceback and its causes. Its message may hold a client's input."""
    lines = "".join(traceback.format_exception(error)).rstrip("\n").split("\n")
    if len(lines) > MAX_TRACEBACK_LINES:
        half = MAX_TRACEBACK_LINES // 2
        lines = [*lines[:half], f"… {len(lines) - 2 * half} lines …", *lines[-half:]]
    return "\n".join(BAR + plain(line) for line in lines)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


Value = str | int | float | bool | None

_PLACE = re.compile(r"%\((\w+)\)")


@dataclass(frozen=True)
class LogEvent:
    """One kind of event.

    Attributes:
        name: of the event, which never changes.
        text: its sentence, with `%(field)s` where a value goes.
        more: fields beside those.
        meaning: of the event, for operators.
    """

    name: str
    level: int
    text: str
    meaning: str
    more: tuple[str, ...] = ()

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The names of its values."""
        return *dict.fromkeys(_PLACE.findall(self.text)), *self.more

    def said(self, values: Mapping[str, Value]) -> tuple[str, dict[str, Value]]:
        """Its sentence and its values, made safe for a log.

        Raises:
            ValueError: For other fields than its own.
        """
        if values.keys() != set(self.fields):
            raise ValueError(f"{self.name} has the fields {', '.join(self.fields)}, not {', '.join(values)}")
        fit = {name: _fit(value) for name, value in values.items()}
        return self.text % fit, fit

    def tell(self, log: logging.Logger, error: BaseException | None = None, /, **values: Value) -> None:
        """Writes the event to the log.

        Args:
            error: written with its traceback.

        Raises:
            ValueError: As `said`.
        """
        sentence, fields = self.said(values)
        if not log.isEnabledFor(self.level):
            return
        teller = sys._getframe(1)
        file, function = teller.f_code.co_filename, teller.f_code.co_name
        caught = None if error is None else (type(error), error, error.__traceback__)
        record = log.makeRecord(log.name, self.level, file, teller.f_lineno, sentence, (), caught, function)
        if error is not None:
            # Every formatter takes this instead of what it would make of the error by itself.
            record.exc_text = plain_traceback(error)
        log.handle(_Told(record, {"event": self.name, **fields}))


class _Told(logging.LogRecord):
    """A record whose values can't be overwritten, except those that are None.

    Serve's filters put the current request's id and route into every record, in place of the event's own: with a path's
    mount point in it, or an id that the service has refused.
    """

    # Not among its attributes: formatters show those.
    __slots__ = ("_fixed",)

    _fixed: frozenset[str]

    def __init__(self, record: logging.LogRecord, fields: Mapping[str, Value]) -> None:
        taken = vars(record).keys() & fields.keys()
        if taken:
            raise ValueError(f"a log record has other values under {', '.join(sorted(taken))}")
        self.__dict__.update(vars(record), **fields)
        self._fixed = frozenset(name for name, value in fields.items() if value is not None)

    def __setattr__(self, name: str, value: object) -> None:
        if name not in getattr(self, "_fixed", ()):
            super().__setattr__(name, value)


def _fit(value: Value) -> Value:
    """As JSON can hold it."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
