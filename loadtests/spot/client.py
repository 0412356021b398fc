"""The demonstration's own client: has references made as jobs, follows them and fetches the sound."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import httpx

from loadtests.spot.losses import LossLog
from loadtests.spot.reference import LANES, Reference, Take
from serve_app.launcher.clip import ClipError, checked_duration_s

_PATH = "/v1/generations"
# Of 20 s each: 36 MB as they are held, and the service holds 32 MiB (`pipeline.shared_windows`).
_NUM_OTHERS = 14


class JobFailed(Exception):
    """A job did not come to a good end; one sentence."""


class Client:
    """http: of the service. losses: of its workers. clock: seconds since the demonstration began. takes: all that were
    begun, oldest first.
    """

    def __init__(self, http: httpx.AsyncClient, losses: LossLog, clock: Callable[[], float]) -> None:
        self._http = http
        self._losses = losses
        self._clock = clock
        self._num_rounds = 0
        self.takes: list[Take] = []

    @property
    def num_moved(self) -> int:
        """Takes that have lost a worker so far, whether or not they are at their end."""
        self._losses.tell(self.takes)
        return sum(bool(take.lost_s) for take in self.takes)

    @property
    def num_being_made(self) -> int:
        """Takes that a language model is at work for, as far as their events tell."""
        return sum(take.is_being_made for take in self.takes)

    async def keep_busy(self, enough: asyncio.Event) -> None:
        """In each lane one new clip after the other, until there are enough, or one fails.

        The sound is fetched of those that lost their worker: the others are made, and that is all.
        """

        def lost_its_worker(take: Take) -> bool:
            self._losses.tell([take])
            return bool(take.lost_s)

        async def keep_making(lane: int) -> None:
            while not enough.is_set():
                # A lane that is ahead of others takes numbers that they have not had yet.
                number = lane + LANES * sum(take.reference.lane == lane for take in self.takes)
                if (await self.make(Reference.numbered(number), lost_its_worker)).error is not None:
                    return

        await asyncio.gather(*(keep_making(lane) for lane in range(1, LANES + 1)))

    async def once_more(self, references: Sequence[Reference]) -> list[Take]:
        """The same anew, all at once, as undisturbed as they are now.

        The service holds sound that it decoded lately, by the name of the music: that of other clips takes its place
        before, so that none of these can come from there.
        """
        first = 1 + max((take.reference.number for take in self.takes), default=0)
        others = [Reference.numbered(first + i) for i in range(_NUM_OTHERS)]
        await asyncio.gather(*(self.make(each, lambda _: False) for each in others))
        return list(await asyncio.gather(*(self.make(each, lambda _: True) for each in references)))

    async def make(self, reference: Reference, is_to_be_heard: Callable[[Take], bool]) -> Take:
        """One job, from its submission to its removal. is_to_be_heard: whether to fetch its sound, once it is made."""
        take = Take(reference, self._clock())
        self.takes.append(take)
        try:
            path = await self._submit(reference)
            await self._follow(path, take)
            if is_to_be_heard(take):
                sound = await self._fetch(f"{path}/audio", reference)
                take.size_bytes, take.sha256 = len(sound), hashlib.sha256(sound).hexdigest()
            _expect(await self._http.delete(path), 204)
        except (JobFailed, ClipError, httpx.TransportError) as error:
            take.error = f"{type(error).__name__}: {error}"
        take.ended_s = self._clock()
        return take

    async def _submit(self, reference: Reference) -> str:
        answer = await self._http.post(_PATH, json=reference.body)
        _expect(answer, 202)
        return f"{_PATH}/{answer.json()['id']}"

    async def _follow(self, path: str, take: Take) -> None:
        """Until it is made. Raises: JobFailed."""
        told: Mapping[str, Any] = {}
        async with self._http.stream("GET", f"{path}/events", headers={"Accept": "text/event-stream"}) as answer:
            if answer.status_code != 200:
                await answer.aread()
            _expect(answer, 200)
            async for told in _events(answer):
                take.heard(told, self._clock())
        if told.get("state") != "succeeded":
            raise JobFailed(f"its events ended with {json.dumps(told)[:300]}")

    async def _fetch(self, path: str, reference: Reference) -> bytes:
        answer = await self._http.get(path)
        _expect(answer, 200)
        checked_duration_s(answer.content, reference.duration_ms)
        return answer.content


async def _events(answer: httpx.Response) -> AsyncIterator[Mapping[str, Any]]:
    """The job, each time that it is told; the service writes it in one line."""
    async for line in answer.aiter_lines():
        name, _, value = line.partition(":")
        if name == "data":
            yield json.loads(value)


def _expect(answer: httpx.Response, status: int) -> None:
    if answer.status_code != status:
        raise JobFailed(
            f"{answer.request.method} {answer.request.url.path} answers {answer.status_code}: {answer.text[:200]}"
        )
