"""Text for a log in which every event is one line, whatever is in it.

What ends a line for somebody (terminals, editors, Python's `splitlines`), moves a cursor, turns the direction of
writing or can't be written as UTF-8 stands there as its escape sequence. What is long loses its middle.

An event of the log: a sentence for people, and its name and values for programs.

With Serve's encoding TEXT the log has the sentence, with JSON the values too, each under its own name, with the event's
as `event`. Either way it is one line.
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


Value = str | int | float | bool | None

_PLACE = re.compile(r"%\((\w+)\)")


@dataclass(frozen=True)
class LogEvent:
    """name: of the event, for good. text: its sentence, with `%(field)s` where a value goes. more: fields beside those.
    meaning: of the event, for who operates the service.
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
        """Its sentence and its values, fit for a log. Raises: ValueError for other fields than the event's own."""
        if values.keys() != set(self.fields):
            raise ValueError(f"{self.name} has the fields {', '.join(self.fields)}, not {', '.join(values)}")
        fit = {name: _fit(value) for name, value in values.items()}
        return self.text % fit, fit

    def tell(self, log: logging.Logger, error: BaseException | None = None, /, **values: Value) -> None:
        """Writes it down. error: told with its traceback. Raises: as `said`."""
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
    """A record whose values stay as they were told, those that are None aside.

    Serve's filters put the request's id and route at hand into every record, in the place of the event's own: with a
    path's mount point in it, or an id that the service has found unfit.
    """

    # Not among its attributes: formatters show those.
    __slots__ = ("_fixed",)

    _fixed: frozenset[str]

    def __init__(self, record: logging.LogRecord, fields: Mapping[str, Value]) -> None:
        taken = vars(record).keys() & fields.keys()
        if taken:
            raise ValueError(f"a log record has other things under {', '.join(sorted(taken))}")
        self.__dict__.update(vars(record), **fields)
        self._fixed = frozenset(name for name, value in fields.items() if value is not None)

    def __setattr__(self, name: str, value: object) -> None:
        if name not in getattr(self, "_fixed", ()):
            super().__setattr__(name, value)


def _fit(value: Value) -> Value:
    """What JSON has, too."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
