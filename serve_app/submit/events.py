"""Server-sent events, as they come in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# An event of the service has some kilobytes.
MAX_LINE_BYTES = 2**20


@dataclass(frozen=True)
class Event:
    """id: to send as Last-Event-ID. data: its lines, joined."""

    id: str
    kind: str
    data: str


def events_of(pieces: Iterable[bytes]) -> Iterator[Event]:
    """The events in a body, whatever pieces it comes in; one that is cut off by the end is none.

    Raises: ValueError for a line that never ends, and for what is not UTF-8.
    """
    last_id, kind, data = "", "message", list[str]()
    for line in _lines(pieces):
        if not line:
            if data:
                yield Event(last_id, kind, "\n".join(data))
            kind, data = "message", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            last_id = value
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Not `str.splitlines`, which finds ends of lines that are none here."""
    buffer = b""
    for piece in pieces:
        *lines, buffer = (buffer + piece).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode()
        if len(buffer) > MAX_LINE_BYTES:
            raise ValueError("a line of the events is too long")
