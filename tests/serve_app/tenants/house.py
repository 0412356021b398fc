"""The service in one process, but for Ray and the model: real HTTP application, gate, jobs, records, pipelines, cache.

Nothing of what its tenants have in common is left out: one database, one folder of kept music, one set of pipelines.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import func, select

from deployments.messages import ModelCard
from serve_app.api.app import create_app
from serve_app.api.finished_files import FileCache
from serve_app.api.pipeline_backend import PipelineBackend
from serve_app.auth import keys as key_text
from serve_app.auth.gate import Gate
from serve_app.cache.cache import Cache
from serve_app.database.auth_tables import AuditTable, KeyTable
from serve_app.database.database import Database
from serve_app.database.engines import open_database, open_leases
from serve_app.database.schema import variations
from serve_app.identity import ApiKey
from serve_app.job import ENDED
from serve_app.jobs.maker import JobHealthMeter
from serve_app.jobs.service import JobService
from serve_app.pipeline.finder import PipelineModel
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.workers import RetryTurns
from serve_app.settings.application import AuditSettings, AuthSettings, HttpSettings, JobsSettings, LimitsSettings
from serve_app.settings.model import Deadline
from serve_app.settings.storage import CacheSettings, DatabaseSettings
from serve_app.stores.opening import open_cache
from tests.serve_app.api.asgi import DISCONNECT, Exchange, body, post_scope
from tests.serve_app.pipeline.scripted_stages import SOUND
from tests.serve_app.tenants.sounds_made import SoundsMade
from tests.serve_app.tenants.studio import HELD_SEED, Clients, Steps, Studio
from tests.serve_app.tenants.turns import Turns

MODEL = "scripted"
# Whose keys there are: by the name of the key, its tenant. The last is revoked.
KEYS = {"a": "anna", "a2": "anna", "b": "ben", "gone": "ben"}
REVOKED = "gone"
FILE = "records.sqlite"

Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Followed:
    """An answer of events, until its reader left or it ended by itself."""

    status: int
    headers: Headers
    content: bytes


class House:
    """keys: by name. jobs: as the HTTP surface has them. sounds_made: of all that was made."""

    def __init__(
        self,
        app: FastAPI,
        gate: Gate,
        database: Database,
        jobs: JobService,
        turns: Turns,
        studio: Studio,
        clients: Clients,
        pipelines: list[Pipeline],
        caches: list[Cache],
        sounds: FileCache,
        sounds_made: SoundsMade,
        keys: dict[str, key_text.NewKey],
        client: httpx.AsyncClient,
    ) -> None:
        self.app = app
        self.gate = gate
        self.database = database
        self.studio = studio
        self.keys = keys
        self.sounds_made = sounds_made
        self.jobs = jobs.jobs
        self._turns = turns
        self._clients = clients
        self._pipelines = pipelines
        self._caches = caches
        self._sounds = sounds
        self._client = client

    async def ask(self, key: str | None, method: str, path: str, **request: Any) -> httpx.Response:
        """key: the name of one, None for none."""
        headers = httpx.Headers(request.pop("headers", None)).multi_items()
        return await self._client.request(method, path, headers=[*self._shown(key), *headers], **request)

    async def music(self, key: str, path: str = "/v1/music", **fields: Any) -> httpx.Response:
        asked = {"prompt": "a tone", "music_length_ms": 100, **fields}
        answer = await self.ask(key, "POST", f"{path}?output_format=pcm", json=asked)
        await self.settled()
        return answer

    async def submit(self, key: str, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        asked = {"prompt": "a tone", "music_length_ms": 100, **fields}
        return await self.ask(key, "POST", "/v1/generations", json=asked, headers=headers)

    async def follow(self, key: str, path: str, headers: Headers | None = None) -> Followed:
        """Reads events until there was one, or no more come, and hangs up."""
        reader = _Reader()
        reading = asyncio.create_task(reader.run(self.app, reader.scope(path, [*self._shown(key), *(headers or [])])))
        hearing = asyncio.create_task(reader.heard.wait())
        await asyncio.wait({reading, hearing}, return_when=asyncio.FIRST_COMPLETED)
        reader.incoming.put_nowait(DISCONNECT)
        await reading
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
        started = [(name.decode(), value.decode()) for name, value in reader.sent[0]["headers"]]
        return Followed(reader.status, started, reader.content)

    async def work(self) -> None:
        """Jobs are made, one variation after the other in the order of the queue, but for those that are held up."""
        while self._num("queued"):
            # There is none of this name: it is what makes the runner look.
            await self.jobs.cancel("", "")
            await self._turns.until_taken()
            await self.settled()

    async def release(self) -> None:
        """What was held up is made."""
        self.studio.release()
        while self.studio.num_held:
            await asyncio.sleep(0)
        await self.settled()

    async def listeners(self, number: int) -> None:
        """Returns when so many wait for music at the pipelines, and those places are theirs."""
        while self._clients.num_subscribed < number or any(pipeline._finder._locks for pipeline in self._pipelines):
            await asyncio.sleep(0.001)

    async def settled(self) -> None:
        """Returns when all that goes on by itself has come to its end, or is held up."""
        while not self._is_settled():
            await asyncio.sleep(0.001)
        await self._sounds.settled()
        for cache in self._caches:
            await cache.settled()

    def _is_settled(self) -> bool:
        num_running, num_held = self._num("running"), self._num("running", variations.c.seed == HELD_SEED)
        return (
            len(self._turns.held) == num_running == num_held
            and sum(len(pipeline._generations) for pipeline in self._pipelines) == self.studio.num_held
            and bool(num_held) <= bool(self.studio.num_held)
        )

    def _num(self, state: str, *more: Any) -> int:
        """Variations in that state."""
        assert state not in ENDED
        with self.database.reading() as connection:
            mine = select(func.count()).select_from(variations).where(variations.c.state == state, *more)
            return connection.execute(mine).scalar_one()

    def _shown(self, key: str | None) -> Headers:
        return [] if key is None else [("xi-api-key", self.keys[key].text)]


@asynccontextmanager
async def house(
    folder: Path,
    *,
    url: str | None = None,
    share_cache: bool = False,
    limits: dict[str, Any] | None = None,
    prompts: Any = "kept",
    **jobs: Any,
) -> AsyncIterator[House]:
    """One that is open. url: of the database, else FILE in the folder. limits, prompts, jobs: as in the settings."""
    file, keys = _with_keys()
    (folder / FILE).write_bytes(file)
    records = DatabaseSettings(url=SecretStr(url or f"sqlite:///{folder}/{FILE}"))
    kept = CacheSettings.model_validate({"store": {"kind": "folder", "folder": str(folder / "kept")}})
    audit = AuditSettings(prompts=prompts)
    access = AuthSettings(
        keys="required", share_cache=share_cache, limits=LimitsSettings(**(limits or {})), audit=audit
    )
    jobs_settings = JobsSettings(max_running=256, max_attempts=1, **jobs)
    async with AsyncExitStack() as stack:
        database, studio = open_database(records), Studio()
        caches = [open_cache(kept) for _ in range(3)]
        pipelines = []
        for cache in caches[1:]:
            stack.push_async_callback(cache.close)
            leases = open_leases(records, database)
            stack.push_async_callback(leases.close)
            pipelines.append(
                Pipeline({MODEL: PipelineModel(studio, Deadline(), RetryTurns(MODEL, leases))}, cache, leases)
            )
        stack.push_async_callback(caches[0].close)
        sounds = FileCache(caches[0])
        cards = [ModelCard(MODEL, "./scripted", None, "MIT", 30_000, SOUND)]
        clients = Clients(pipelines)
        sounds_made = SoundsMade()
        backend = PipelineBackend(
            clients, {MODEL: Steps()}, cards, MODEL, sounds, records.lease_s, recorder=sounds_made
        )
        health_meter = JobHealthMeter(backend.sound_health, sounds_made)
        turns = Turns(records, database)
        service = JobService(database, turns, backend.frames, [MODEL], records, jobs_settings, health_meter)
        gate = Gate(access, KeyTable(database), AuditTable(database), timeout_s=records.timeout_s)
        stack.push_async_callback(gate.close)
        await backend.complete_cards()
        gate.start()
        await stack.enter_async_context(service.running())
        app = create_app(backend, HttpSettings(), jobs=service.jobs, jobs_settings=jobs_settings, gate=gate)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://service"))
        yield House(
            app, gate, database, service, turns, studio, clients, pipelines, caches, sounds, sounds_made, keys, client
        )


@functools.cache
def _with_keys() -> tuple[bytes, dict[str, key_text.NewKey]]:
    """A database that has nothing but the keys: made once, since the tables take longer than many a test."""
    keys = {name: key_text.generate_key() for name in KEYS}
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(DatabaseSettings(url=SecretStr(f"sqlite:///{folder}/{FILE}")))
        table = KeyTable(database)
        for name, key in keys.items():
            table.add(ApiKey(key.id, KEYS[name], "", key.digest, created_s=time.time()))
        table.revoke(keys[REVOKED].id, time.time())
        database.close()
        return (Path(folder) / FILE).read_bytes(), keys


class _Reader(Exchange):
    """Of events. heard: the first has come whole."""

    def __init__(self) -> None:
        super().__init__(body(b""))
        self.heard = asyncio.Event()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if b"data: " in self.content:
            self.heard.set()

    def scope(self, path: str, headers: Headers) -> Any:
        sent = [(name.lower().encode(), value.encode()) for name, value in headers]
        return {**post_scope(sent, path), "method": "GET"}

    @property
    def content(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])
