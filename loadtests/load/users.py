"""The users, as Locust has them: what they do is in `acts` and `job_act`, when they do it in `pace`."""

from __future__ import annotations

import random
import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar

from locust import User, task
from locust.env import Environment

from loadtests.load.acts import COMPOSE, hang_up, listen, wait_for_clip
from loadtests.load.answer_checks import Repeats
from loadtests.load.errors import Refused
from loadtests.load.job_act import have_made
from loadtests.load.options import Options
from loadtests.load.pace import Pace
from loadtests.load.recorder import Ended, Recorder
from loadtests.load.sample import Sample
from loadtests.load.service import Service
from loadtests.load.wish import Wish, Wishes

_MAX_PIECES = 3
_MAX_PATIENCE_S = 0.5


@dataclass(frozen=True)
class Run:
    """What all users of a run share. joined: how many there have been of each kind."""

    options: Options
    recorder: Recorder
    repeats: Repeats
    joined: Counter[str] = field(default_factory=Counter)

    def next_name(self, kind: str) -> str:
        """Of a user who joins: no other has it."""
        self.joined[kind] += 1
        return f"{kind} {self.joined[kind]}"


class Asking(User):
    """Asks for music again and again. Refused, it waits as long as it is told and asks for the same again.

    kind: one of `options.KINDS`.
    """

    abstract = True
    kind: ClassVar[str]
    run_of: ClassVar[Run]

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        options = self.run_of.options
        name = self.run_of.next_name(self.kind)
        self.service = Service(options.url, options.api_key, options.silence_s)
        self.wishes = Wishes(options.seed, name, options.lengths_ms)
        # Beside those of the wishes, which do not change with how often it was refused.
        self.chance = random.Random(f"{options.seed}/{name}/chance")  # noqa: S311 - load, not secrets
        self._pace = Pace(self.chance, options.pace_s, self.run_of.recorder.clock())
        self._refused: Wish | None = None
        self._come = False

    @task
    def ask(self) -> None:
        """One wish. The first time nothing: Locust has its users do something before they wait for the first time,
        and so all that come at once would ask at once.
        """
        if not self._come:
            self._come = True
            return
        wish = self._refused or self.wish()
        self._refused = None
        try:
            self.act(wish)
        except Refused as refused:
            self._refused = wish
            self._pace.put_off(self.run_of.recorder.clock() + refused.retry_after_s)
        except Ended:
            return  # it is recorded

    def wait_time(self) -> float:
        return self._pace.wait_s(self.run_of.recorder.clock())

    def wish(self) -> Wish:
        """What it asks for next."""
        return self.wishes.unique()

    def act(self, wish: Wish) -> None:
        """Asks for it. Raises: Refused, Ended."""
        raise NotImplementedError


class Composer(Asking):
    """Asks for what nobody else does, and waits for all of it."""

    kind = "compose"

    def act(self, wish: Wish) -> None:
        wait_for_clip(self.service, self.run_of.recorder, self.run_of.repeats, wish, COMPOSE)


class Repeater(Asking):
    """Asks for what others ask for too, and waits for all of it."""

    kind = "repeat"

    def wish(self) -> Wish:
        return self.wishes.popular()

    def act(self, wish: Wish) -> None:
        wait_for_clip(self.service, self.run_of.recorder, self.run_of.repeats, wish, "repeat")


class Listener(Asking):
    """Listens to new music while it is made."""

    kind = "stream"

    def act(self, wish: Wish) -> None:
        listen(self.service, self.run_of.recorder, self.run_of.repeats, wish, "stream")


class Submitter(Asking):
    """Has new music made as a job."""

    kind = "job"

    def act(self, wish: Wish) -> None:
        run = self.run_of
        key = secrets.token_hex(16)  # the same one in the next run would be the same job
        have_made(self.service, run.recorder, run.repeats, wish, key, run.options.queue, "job")


class Impatient(Asking):
    """Leaves new music after its first pieces, or before there is any."""

    kind = "hang-up"

    def act(self, wish: Wish) -> None:
        num_pieces = self.chance.randint(0, _MAX_PIECES)
        patience_s = self.chance.uniform(0, _MAX_PATIENCE_S)
        hang_up(self.service, self.run_of.recorder, wish, num_pieces, patience_s, "hang up")


USERS: tuple[type[Asking], ...] = (Composer, Repeater, Listener, Submitter, Impatient)


def join(run: Run) -> list[type[User]]:
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
