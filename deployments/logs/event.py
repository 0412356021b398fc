"""An event of the log: a sentence for people, and its name and values for programs.

With Serve's encoding TEXT the log has the sentence, with JSON the values too, each under its own name, with the event's
as `event`. Either way it is one line.
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass
from functools import cached_property

from deployments.logs.plain_text import plain, plain_traceback

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

    def tell(self, log: logging.Logger, error: BaseException | None = None, /, **values: Value) -> None:
        """Writes it down. error: told with its traceback. Raises: ValueError for other fields than the event's own."""
        if values.keys() != set(self.fields):
            raise ValueError(f"{self.name} has the fields {', '.join(self.fields)}, not {', '.join(values)}")
        if not log.isEnabledFor(self.level):
            return
        said = {name: _plain(value) for name, value in values.items()}
        file, line, function, _ = log.findCaller(stacklevel=2)
        caught = None if error is None else (type(error), error, error.__traceback__)
        extra = {"event": self.name, **said}
        record = log.makeRecord(log.name, self.level, file, line, self.text % said, (), caught, function, extra)
        if error is not None:
            # Every formatter takes this instead of what it would make of the error by itself.
            record.exc_text = plain_traceback(error)
        log.handle(record)


def _plain(value: Value) -> Value:
    """What JSON has, too."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
