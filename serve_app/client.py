"""Files that are whole or not there.

Server-sent events, as they come in.

The service as the command uses it: what fails for a moment is tried again, and nothing is submitted twice.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx


def saved(path: Path, pieces: Iterable[bytes]) -> None:
    """Writes a file in place of any that has its name, once all pieces have come. Raises: OSError, what they raise."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            for piece in pieces:
                file.write(piece)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


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


T = TypeVar("T")

# The service's own deadline for an answer, and then some.
_TIMEOUT = httpx.Timeout(10, read=660)
# Of the events, among which there is a heartbeat every 15 s.
_SILENCE_S = 45.0
# Without anything coming of it: half a minute and more.
_TRIES = 8
_MAX_PAUSE_S = 15.0
_PASSING = frozenset({429, 502, 503, 504})
_ENDED = frozenset({"succeeded", "failed", "cancelled"})
_LOOPBACK = re.compile(r"https?://(127\.|localhost\b|\[::1\])")

Generation = Mapping[str, Any]


class SubmitError(Exception):
    """It can't be done; one line."""


class Passing(Exception):
    """An answer that says to try again later. after_s: how much; None: it does not say."""

    def __init__(self, message: str, after_s: float | None) -> None:
        super().__init__(message)
        self.after_s = after_s


class Client:
    """For one thread. url: of the service. sleep: how it waits between tries."""

    def __init__(self, url: str, key: str | None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._url = url
        self._generations = f"{url}/v1/generations"
        self._sleep = sleep
        self._answered = False
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        # A proxy of the environment's leads to the world, not to this machine.
        proxied = _LOOPBACK.match(url) is None
        self._http = httpx.Client(headers=headers, timeout=_TIMEOUT, trust_env=proxied)

    def address(self, generation_id: str) -> str:
        """Of a generation."""
        return f"{self._generations}/{generation_id}"

    def submit(self, body: Mapping[str, Any], idempotency_key: str, tries: int = _TRIES) -> Generation:
        """The generation; the same however often it takes. Raises: SubmitError."""

        def post() -> Generation:
            answer = self._http.post(self._generations, json=body, headers={"Idempotency-Key": idempotency_key})
            return self._checked(answer)

        return self._retried(post, tries)

    def follow(self, generation_id: str) -> Iterator[Generation]:
        """The generation whenever it has changed; the last time when it has ended. Raises: SubmitError."""
        known: str | None = None
        failures = 0
        while True:
            try:
                for event_id, generation in self._listened(generation_id, known):
                    known, failures = event_id, 0
                    yield generation
                    if generation["state"] in _ENDED:
                        return
                reason = "the service ended its answer"
            except (httpx.RequestError, Passing) as error:
                reason = str(error)
            failures += 1
            if failures == _TRIES:
                address = self.address(generation_id)
                raise SubmitError(f"It can't be followed any more ({reason}), and may go on: {address}")
            self._sleep(_pause_s(failures))

    def fetch(self, generation_id: str, number: int, container: str, path: Path) -> None:
        """Saves a variation's sound, whole or not at all. Raises: SubmitError; OSError."""
        query: dict[str, str | int] = {"variation": number, "output_format": container}

        def get() -> None:
            with self._http.stream("GET", f"{self.address(generation_id)}/audio", params=query) as answer:
                if answer.status_code != 200:
                    answer.read()
                    self._check(answer)
                saved(path, answer.iter_bytes())

        self._retried(get)

    def cancel(self, generation_id: str) -> bool:
        """Ends it; False where it is not there any more. Raises: SubmitError."""
        try:
            answer = self._http.delete(self.address(generation_id))
            if answer.status_code == 404:
                return False
            self._check(answer)
        except (httpx.RequestError, Passing) as error:
            raise SubmitError(f"The service can't be reached ({error}).") from error
        return True

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def _listened(self, generation_id: str, known: str | None) -> Iterator[tuple[str, Generation]]:
        """The events of one connection, and their ids."""
        headers = {"Accept": "text/event-stream"} | ({} if known is None else {"Last-Event-ID": known})
        timeout = httpx.Timeout(10, read=_SILENCE_S)
        address = f"{self.address(generation_id)}/events"
        with self._http.stream("GET", address, headers=headers, timeout=timeout) as answer:
            if answer.status_code == 204:  # it has ended, and that was the last event
                yield known or "", self._checked(self._http.get(self.address(generation_id)))
                return
            if answer.status_code != 200:
                answer.read()
                self._check(answer)
            try:
                for event in events_of(answer.iter_bytes()):
                    yield event.id, json.loads(event.data)
            except ValueError as error:
                raise SubmitError(f"The service's events can't be read: {error}") from error

    def _retried(self, attempt: Callable[[], T], tries: int = _TRIES) -> T:
        failures = 0
        while True:
            try:
                return attempt()
            except (httpx.RequestError, Passing) as error:
                failures += 1
                if isinstance(error, httpx.ConnectError) and not self._answered:
                    raise SubmitError(
                        f"There is no service at {self._url} ({error}): `make run` starts one, --url names another."
                    ) from error
                if failures >= tries:
                    raise SubmitError(f"The service at {self._url} does not answer: {error}") from error
                after_s = error.after_s if isinstance(error, Passing) else None
            self._sleep(_pause_s(failures) if after_s is None else after_s)

    def _checked(self, answer: httpx.Response) -> Generation:
        self._check(answer)
        generation: Generation = answer.json()
        return generation

    def _check(self, answer: httpx.Response) -> None:
        """Raises: Passing, SubmitError where it is no success."""
        self._answered = True
        if answer.is_success:
            return
        message = f"The service answered {answer.status_code}: {_message(answer)}"
        if answer.status_code in _PASSING:
            after = answer.headers.get("Retry-After", "")
            raise Passing(message, min(float(after), 60.0) if after.isdecimal() else None)
        raise SubmitError(message)


def _pause_s(failures: int) -> float:
    return min(0.5 * 2.0**failures, _MAX_PAUSE_S)


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "it is not a service of this kind, or something stands in front of it."
