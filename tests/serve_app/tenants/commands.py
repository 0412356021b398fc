"""What tenants do in a house, in words that mean the same in every house."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.serve_app.tenants.house import KEYS, House
from tests.serve_app.tenants.view import Answer, Names

# There are none like these in any house.
NO_ID = "0123456789abcdef0123456789abcdef"
NO_TAG = f'"{NO_ID}"'


@dataclass(frozen=True)
class Ref:
    """The job that a tenant submitted as its number'th, counted round; where it has none, one that there is not."""

    tenant: str
    number: int


@dataclass(frozen=True)
class Music:
    """key: the name of the one that asks."""

    key: str
    path: str
    fields: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Submit:
    key: str
    idempotency_key: str | None
    fields: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Page:
    key: str
    limit: int
    before: Ref | None


@dataclass(frozen=True)
class Touch:
    """A request for one job. what: `GET`, `DELETE`, `events` or, of its sound, `GET audio` and `HEAD audio`.

    headers: a value may be a Ref, and is then the entity tag of that job's sound.
    """

    key: str
    ref: Ref
    what: str
    variation: int = 0
    headers: tuple[tuple[str, str | Ref], ...] = ()


@dataclass(frozen=True)
class Work:
    """Those jobs are made that are not held up."""


@dataclass(frozen=True)
class Release:
    """Those too that were."""


Command = Music | Submit | Page | Touch | Work | Release


class World:
    """One house and what its tenants know of it. ids, tags: by tenant, in the order in which they came to know them."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.names = {tenant: Names() for tenant in KEYS.values()}
        self.ids: dict[str, list[str]] = {tenant: [] for tenant in KEYS.values()}
        self.tags: dict[str, dict[str, str]] = {tenant: {} for tenant in KEYS.values()}

    async def do(self, command: Command) -> Answer | None:
        """The answer, where it is a tenant's command."""
        house = self.house
        if isinstance(command, Work):
            await house.work()
            return None
        if isinstance(command, Release):
            await house.release()
            return None
        if isinstance(command, Music):
            return await house.music(command.key, command.path, **dict(command.fields))
        if isinstance(command, Submit):
            return await self._submit(command)
        if isinstance(command, Page):
            before = "" if command.before is None else f"&before={self.id_of(command.before)}"
            return await house.ask(command.key, "GET", f"/v1/generations?limit={command.limit}{before}")
        return await self.touch(command, self.id_of(command.ref))

    async def touch(self, command: Touch, job_id: str) -> Answer:
        """The command as it is for a job of this id."""
        path = f"/v1/generations/{job_id}"
        headers = [(name, value if isinstance(value, str) else self._tag_of(value)) for name, value in command.headers]
        if command.what == "events":
            return await self.house.follow(command.key, f"{path}/events", headers)
        method, _, sound = command.what.partition(" ")
        if sound:
            path = f"{path}/audio?output_format=pcm&variation={command.variation}"
        answer = await self.house.ask(command.key, method, path, headers=headers)
        if "etag" in answer.headers:
            self.tags[KEYS[command.key]][job_id] = answer.headers["etag"]
        await self.house.settled()
        return answer

    def id_of(self, ref: Ref) -> str:
        ids = self.ids[ref.tenant]
        return ids[ref.number % len(ids)] if ids else NO_ID

    def _tag_of(self, ref: Ref) -> str:
        return self.tags[ref.tenant].get(self.id_of(ref), NO_TAG)

    async def _submit(self, command: Submit) -> Answer:
        headers = {} if command.idempotency_key is None else {"Idempotency-Key": command.idempotency_key}
        answer = await self.house.submit(command.key, headers, **dict(command.fields))
        if answer.status_code == 202:
            self.ids[KEYS[command.key]].append(answer.json()["id"])
        return answer
