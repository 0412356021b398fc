"""The users as Locust has them. What they do is in `user_tasks`, and when in `shapes`."""

from __future__ import annotations

import random
import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar

from locust import User, task
from locust.env import Environment

from loadtests.load.clip_requests import ClipRequest, ClipRequests
from loadtests.load.errors import Refused
from loadtests.load.http_client import ServiceClient
from loadtests.load.options import Options
from loadtests.load.recorder import Recorder, UserTaskFailed
from loadtests.load.response_checks import RepeatChecker
from loadtests.load.samples import Sample
from loadtests.load.shapes import Pace
from loadtests.load.user_tasks import COMPOSE, disconnect, run_job, stream_clip, wait_for_clip

_MAX_PIECES = 3
_MAX_TIMEOUT_S = 0.5


@dataclass(frozen=True)
class Run:
    """What all users of a run share. joined: how many there have been of each kind."""

    options: Options
    recorder: Recorder
    repeat_checker: RepeatChecker
    joined: Counter[str] = field(default_factory=Counter)

    def next_name(self, kind: str) -> str:
        """Of a user who joins: no other has it."""
        self.joined[kind] += 1
        return f"{kind} {self.joined[kind]}"


class ServiceUser(User):
    """Requests music again and again. After a 429 it waits as long as `Retry-After` says, and sends the same request.

    kind: one of `options.KINDS`.
    """

    abstract = True
    kind: ClassVar[str]
    run_of: ClassVar[Run]

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        options = self.run_of.options
        name = self.run_of.next_name(self.kind)
        self.service = ServiceClient(options.url, options.api_key, options.silence_s)
        self.requests = ClipRequests(options.seed, name, options.lengths_ms)
        # Apart from that of the requests, which must not depend on how often the user was refused.
        self.chance = random.Random(f"{options.seed}/{name}/chance")  # noqa: S311 - load, not secrets
        self._pace = Pace(self.chance, options.pace_s, self.run_of.recorder.clock())
        self._refused: ClipRequest | None = None
        self._come = False

    @task
    def ask(self) -> None:
        """Sends one request. The first time nothing: Locust runs a task before the first wait, so all users that come
        at once would send their requests at once.
        """
        if not self._come:
            self._come = True
            return
        request = self._refused or self.next_request()
        self._refused = None
        try:
            self.act(request)
        except Refused as refused:
            self._refused = request
            self._pace.put_off(self.run_of.recorder.clock() + refused.retry_after_s)
        except UserTaskFailed:
            return  # it is recorded

    def wait_time(self) -> float:
        return self._pace.wait_s(self.run_of.recorder.clock())

    def next_request(self) -> ClipRequest:
        """The next request."""
        return self.requests.unique()

    def act(self, request: ClipRequest) -> None:
        """Sends it. Raises: Refused, UserTaskFailed."""
        raise NotImplementedError


class Composer(ServiceUser):
    """Requests clips that no other user requests, and waits for the whole clip."""

    kind = "compose"

    def act(self, request: ClipRequest) -> None:
        wait_for_clip(self.service, self.run_of.recorder, self.run_of.repeat_checker, request, COMPOSE)


class Repeater(ServiceUser):
    """Requests clips that others request too, and waits for the whole clip."""

    kind = "repeat"

    def next_request(self) -> ClipRequest:
        return self.requests.popular()

    def act(self, request: ClipRequest) -> None:
        wait_for_clip(self.service, self.run_of.recorder, self.run_of.repeat_checker, request, "repeat")


class Listener(ServiceUser):
    """Streams new clips."""

    kind = "stream"

    def act(self, request: ClipRequest) -> None:
        stream_clip(self.service, self.run_of.recorder, self.run_of.repeat_checker, request, "stream")


class Submitter(ServiceUser):
    """Submits new clips as jobs."""

    kind = "job"

    def act(self, request: ClipRequest) -> None:
        run = self.run_of
        key = secrets.token_hex(16)  # the same one in the next run would be the same job
        run_job(self.service, run.recorder, run.repeat_checker, request, key, run.options.queue, "job")


class Impatient(ServiceUser):
    """Disconnects from a new stream after its first pieces, or before there are any."""

    kind = "hang-up"

    def act(self, request: ClipRequest) -> None:
        num_pieces = self.chance.randint(0, _MAX_PIECES)
        timeout_s = self.chance.uniform(0, _MAX_TIMEOUT_S)
        disconnect(self.service, self.run_of.recorder, request, num_pieces, timeout_s, "hang up")


USERS: tuple[type[ServiceUser], ...] = (Composer, Repeater, Listener, Submitter, Impatient)


def users_of(run: Run) -> list[type[User]]:
    """The kinds of users that there are in this run, with their weights."""
    joining: list[type[User]] = []
    for user in USERS:
        user.run_of = run
        user.weight = run.options.weights[user.kind]
        if user.weight > 0:
            joining.append(user)
    return joining


def event_of(sample: Sample) -> dict[str, Any]:
    """A sample as Locust's `request` event."""
    return {
        "request_type": sample.method,
        "name": sample.name,
        "response_time": sample.ms,
        "response_length": sample.size_bytes,
        "exception": sample.failure,
        "context": {"outcome": sample.outcome, "audio_s": sample.audio_s, "end": sample.end},
    }
