"""Everything that is logged while a test runs, by whichever logger, as a text formatter would write it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

# Those of the client that the tests ask with: it writes down what it asks for.
_OUR_OWN = ("httpx", "httpcore", "hypothesis")


class Lines(logging.Handler):
    """events: each record's own words, with the logger's name. texts: the whole of it, with its exception."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.events: list[tuple[str, str]] = []
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] not in _OUR_OWN:
            self.events.append((record.name, record.getMessage()))
            fields = {name: value for name, value in vars(record).items() if name not in ("msg", "args")}
            self.texts.append(f"{self.format(record)} {fields!r}")

    @property
    def of_the_service(self) -> list[str]:
        """The events of its own loggers: one line each."""
        return [event for name, event in self.events if name.startswith(("musicgen_serve.", "ray.serve."))]


@contextmanager
def captured_log() -> Iterator[Lines]:
    """At the level of DEBUG, also of loggers that were set to another or keep their records to themselves."""
    lines = Lines()
    known = [logging.getLogger(name) for name in logging.root.manager.loggerDict]
    before = [(logger, logger.level, logger.disabled, logger.propagate) for logger in (logging.root, *known)]
    for logger, *_ in before:
        logger.setLevel(logging.DEBUG)
        logger.disabled, logger.propagate = False, True
    logging.root.addHandler(lines)
    try:
        yield lines
    finally:
        logging.root.removeHandler(lines)
        for logger, level, disabled, propagate in before:
            logger.setLevel(level)
            logger.disabled, logger.propagate = disabled, propagate
