"""The service as the command line uses it: what fails for a moment is tried again, and nothing is submitted twice.

Also here, for whoever reads a service: files that are whole or not there, and server-sent events as they come in.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

# Where an API key is looked for.
KEY_VARIABLE = "MUSICGEN_API_KEY"
# An event of the service has some kilobytes.
MAX_LINE_BYTES = 2**20

# The service's own deadline for an answer, and then some.
_TIMEOUT = httpx.Timeout(10, read=660)
# Of the events, among which there is a heartbeat every 15 s.
_EVENTS_TIMEOUT = httpx.Timeout(10, read=45.0)
# Without anything coming of it: half a minute and more.
_TRIES = 8
_MAX_PAUSE_S = 15.0
_TRY_LATER = frozenset({429, 502, 503, 504})
ENDED = frozenset({"succeeded", "failed", "cancelled"})
_LOOPBACK = re.compile(r"https?://(127\.|localhost\b|\[::1\])")
_SLUG_CHARACTERS = 48

# The service's JSON.
Document = Mapping[str, Any]
Job = Mapping[str, Any]
T = TypeVar("T")


class ClientError(Exception):
    """It can't be done; one line."""


class TryLater(Exception):
    """An answer that says to try again later: a line, and after how many seconds (None: it does not say)."""

    def __init__(self, message: str, after_s: float | None) -> None:
        super().__init__(message)
        self.after_s = after_s


class Client:
    """A client of a running service, for one thread. url: of the service. sleep: how it waits between tries."""

    def __init__(self, url: str, key: str | None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._url = url
        self._jobs = f"{url}/v1/generations"
        self._sleep = sleep
        self._answered = False
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        # A proxy of the environment's leads to the world, not to this machine.
        proxied = _LOOPBACK.match(url) is None
        self._http = httpx.Client(headers=headers, timeout=_TIMEOUT, trust_env=proxied)

    def address(self, job_id: str) -> str:
        """Of a job."""
        return f"{self._jobs}/{job_id}"

    def models(self) -> Document:
        """What the service offers. Raises: ClientError."""
        return self._retried(lambda: self._checked(self._http.get(f"{self._url}/v1/models")))

    @contextmanager
    def stream(self, body: Document, container: str) -> Iterator[httpx.Response]:
        """The answer that brings music while it is made, once it begins. Raises: ClientError."""

        def begin() -> httpx.Response:
            address = f"{self._url}/v1/music/stream"
            request = self._http.build_request("POST", address, json=body, params={"output_format": container})
            answer = self._http.send(request, stream=True)
            if not answer.is_success:
                answer.read()
            self._check(answer)
            return answer

        answer = self._retried(begin)
        try:
            yield answer
        except httpx.RequestError as error:
            raise ClientError(f"The service broke off its answer: {error}") from error
        finally:
            answer.close()

    def submit(self, body: Document, idempotency_key: str, tries: int = _TRIES) -> Job:
        """The job; the same however often it takes. Raises: ClientError."""

        def post() -> Job:
            answer = self._http.post(self._jobs, json=body, headers={"Idempotency-Key": idempotency_key})
            return self._checked(answer)

        return self._retried(post, tries)

    def jobs(self, limit: int) -> Document:
        """A page of jobs, the newest first. Raises: ClientError."""
        return self._retried(lambda: self._checked(self._http.get(self._jobs, params={"limit": limit})))

    def find(self, job_id: str) -> Job:
        """A job as it stands. Raises: ClientError."""
        return self._retried(lambda: self._checked(self._http.get(self.address(job_id))))

    def follow(self, job_id: str) -> Iterator[Job]:
        """The job whenever it has changed; the last time when it has ended. Raises: ClientError."""
        known: str | None = None
        failures = 0
        while True:
            try:
                for event_id, job in self._events(job_id, known):
                    known, failures = event_id, 0
                    yield job
                    if job["state"] in ENDED:
                        return
                reason = "the service ended its answer"
            except (httpx.RequestError, TryLater) as error:
                reason = str(error)
                if isinstance(error, httpx.ConnectError) and not self._answered:
                    raise self._no_service(error) from error
            failures += 1
            if failures == _TRIES:
                raise ClientError(f"It can't be followed any more ({reason}), and may go on: {self.address(job_id)}")
            self._sleep(_pause_s(failures))

    def fetch(self, job_id: str, number: int, container: str, path: Path) -> None:
        """Saves a variation's sound, whole or not at all. Raises: ClientError; OSError."""
        query: dict[str, str | int] = {"variation": number, "output_format": container}

        def get() -> None:
            with self._http.stream("GET", f"{self.address(job_id)}/audio", params=query) as answer:
                if answer.status_code != 200:
                    answer.read()
                    self._check(answer)
                saved(path, answer.iter_bytes())

        self._retried(get)

    def cancel(self, job_id: str) -> bool:
        """Ends it; False where it is not there any more. Raises: ClientError."""
        try:
            answer = self._http.delete(self.address(job_id))
            if answer.status_code == 404:
                return False
            self._check(answer)
        except (httpx.RequestError, TryLater) as error:
            raise ClientError(f"The service can't be reached ({error}).") from error
        return True

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def _events(self, job_id: str, known: str | None) -> Iterator[tuple[str, Job]]:
        """The events of one connection, and their ids."""
        headers = {"Accept": "text/event-stream"} | ({} if known is None else {"Last-Event-ID": known})
        address = f"{self.address(job_id)}/events"
        with self._http.stream("GET", address, headers=headers, timeout=_EVENTS_TIMEOUT) as answer:
            if answer.status_code == 204:  # it has ended, and that was the last event
                yield known or "", self._checked(self._http.get(self.address(job_id)))
                return
            if answer.status_code != 200:
                answer.read()
                self._check(answer)
            try:
                for event in events_of(answer.iter_bytes()):
                    yield event.id, json.loads(event.data)
            except ValueError as error:
                raise ClientError(f"The service's events can't be read: {error}") from error

    def _retried(self, attempt: Callable[[], T], tries: int = _TRIES) -> T:
        failures = 0
        while True:
            try:
                return attempt()
            except (httpx.RequestError, TryLater) as error:
                failures += 1
                if isinstance(error, httpx.ConnectError) and not self._answered:
                    raise self._no_service(error) from error
                if failures >= tries:
                    raise ClientError(f"The service at {self._url} does not answer: {error}") from error
                after_s = error.after_s if isinstance(error, TryLater) else None
            self._sleep(_pause_s(failures) if after_s is None else after_s)

    def _no_service(self, error: httpx.ConnectError) -> ClientError:
        started = "`musicgen serve` starts one, --url names another."
        return ClientError(f"There is no service at {self._url} ({error}): {started}")

    def _checked(self, answer: httpx.Response) -> Document:
        self._check(answer)
        try:
            document: Document = answer.json()
        except ValueError as error:
            raise ClientError(f"{self._url} answered no JSON: {_OTHER}") from error
        return document

    def _check(self, answer: httpx.Response) -> None:
        """Raises: TryLater, ClientError where it is no success."""
        self._answered = True
        if answer.is_success:
            return
        hint = f" ({KEY_VARIABLE} is where a key is looked for)" if answer.status_code == 401 else ""
        message = f"The service answered {answer.status_code}: {_message(answer)}{hint}"
        if answer.status_code in _TRY_LATER:
            after = answer.headers.get("Retry-After", "")
            raise TryLater(message, min(float(after), 60.0) if after.isdecimal() else None)
        raise ClientError(message)


def slug(prompt: str) -> str:
    """A prompt's words as a part of a file's name, in any script; "clip" if there is none."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", prompt).lower())
    return "-".join(words)[:_SLUG_CHARACTERS].strip("-_") or "clip"


_OTHER = "it is not a service of this kind, or something stands in front of it."


def _message(answer: httpx.Response) -> str:
    """What the service says is wrong."""
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return _OTHER


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


@dataclass(frozen=True)
class ServerSentEvent:
    """A server-sent event. id: to send as Last-Event-ID. data: its lines, joined."""

    id: str
    kind: str
    data: str


def events_of(pieces: Iterable[bytes]) -> Iterator[ServerSentEvent]:
    """The events in a body, whatever pieces it comes in; one that is cut off by the end is none.

    Raises: ValueError for a line that never ends, and for what is not UTF-8.
    """
    last_id, kind, data = "", "message", list[str]()
    for line in _lines(pieces):
        if not line:
            if data:
                yield ServerSentEvent(last_id, kind, "\n".join(data))
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


def _pause_s(failures: int) -> float:
    return min(0.5 * 2.0**failures, _MAX_PAUSE_S)
