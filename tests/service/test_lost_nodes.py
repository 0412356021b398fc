"""Lost nodes, drained nodes, and a lost GCS: real Ray nodes, each a set of processes."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.redis_server import RedisServer
from tests.service.support.ray_nodes import RayNodes, alive, node_id, ray_nodes, send
from tests.service.support.recording_model import RecordedGeneration, recorded_generations
from tests.service.support.two_replicas import clip, digest, gather, until

pytestmark = pytest.mark.slow

FRAMES = 1500
NOTICE_S = 60  # half of what clouds give
WAYS = [(way, container) for way in ("wait", "stream") for container in ("wav", "pcm")]


@pytest.fixture(scope="module")
def spot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    """Two language models, each on a node of its own."""
    folder = tmp_path_factory.mktemp("spot")
    with ray_nodes(folder, folder / "made.txt", num_spot=2) as running:
        yield running


@pytest.fixture
def behind_redis(redis_server: RedisServer, tmp_path: Path) -> Iterator[RayNodes]:
    """What the GCS knows outlives it."""
    with ray_nodes(tmp_path, tmp_path / "made.txt", 2, redis_server.address) as running:
        yield running


class Clips:
    """Four clips that are made at once, waited for and streamed; nobody fails."""

    def __init__(self, service: RayNodes, client: httpx.AsyncClient, first_seed: int) -> None:
        self._service = service
        self._client = client
        self._requests = [(*way, first_seed + i) for i, way in enumerate(WAYS)]
        self._before = set(recorded_generations(service.frames))
        self._clips = asyncio.ensure_future(gather([clip(client, *way, seed=seed) for *way, seed in self._requests]))

    def made(self) -> list[RecordedGeneration]:
        return [made for name, made in recorded_generations(self._service.frames).items() if name not in self._before]

    def num_made(self) -> int:
        """Frames of all."""
        return sum(len(made.frames) for made in self.made())

    async def maker(self, draw: random.Random) -> psutil.Process:
        """The process that makes one of them, when that one has come to a random frame."""
        at = draw.randrange(1, FRAMES - 400)

        def underway() -> list[RecordedGeneration]:
            return [made for made in self.made() if at <= len(made.frames) < FRAMES]

        await until(lambda: bool(underway()))
        return psutil.Process(underway()[0].processes[-1])

    async def intact(self) -> int:
        """How many moved. Raises: AssertionError when a byte is not that of an undisturbed clip."""
        disturbed = await self._clips
        moved = sum(len(made.processes) > 1 for made in self.made())
        calls = [clip(self._client, *way, seed=seed, cache="off") for *way, seed in self._requests]
        assert [digest(one) for one in disturbed] == [digest(one) for one in await gather(list(calls))]
        return moved


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lost_node_changes_no_byte_of_any_clip(spot: RayNodes, number: int) -> None:
    """All its processes at once: the power is cut, or the machine is shut down."""

    async def scenario() -> None:
        async with spot.client() as client:
            clips = Clips(spot, client, 10 * number)
            lost = send(spot.language_models()[await clips.maker(random.Random(number))], number)
            assert await clips.intact() >= 1
            await until(lambda: not any(map(alive, lost)))
            spot.tell("add")
            await until(lambda: len(spot.language_models()) == 2)

    asyncio.run(scenario())


def test_a_node_with_a_spot_notice_hands_its_work_over_and_no_request_fails(spot: RayNodes) -> None:
    async def scenario() -> None:
        async with spot.client() as client:
            spot.tell("add")  # room for the one that has to go
            clips = Clips(spot, client, 500)
            drained = spot.language_models()[await clips.maker(random.Random(3))]
            spot.tell("drain", node_id(drained), str(NOTICE_S))
            for seed in itertools.count(510):
                if drained not in spot.language_models().values():
                    break
                await clip(client, "wait", "wav", seed=seed, seconds=1)
            assert len(spot.language_models()) == 2, "the other one was there before this one went"
            send(drained, signal.SIGKILL)  # as the cloud does
            await clips.intact()
            await clip(client, "wait", "wav", seed=509, seconds=1)

    asyncio.run(scenario())


def test_clips_are_made_while_the_gcs_is_down_and_after_it_is_back(behind_redis: RayNodes) -> None:
    """It is killed, and started again when the clips have got further without it."""

    async def scenario() -> None:
        async with behind_redis.client() as client:
            clips = Clips(behind_redis, client, 700)
            await clips.maker(random.Random(5))
            behind_redis.tell("stop_gcs")
            enough = min(clips.num_made() + 400, FRAMES * len(WAYS))
            new = asyncio.create_task(clip(client, "stream", "wav", seed=710, seconds=1))
            await until(lambda: clips.num_made() >= enough)
            behind_redis.tell("start_gcs")
            await new
            await clips.intact()
            # Which is more than to be alive: it learns that a replica is gone, and where there is room for the next.
            lost = next(iter(behind_redis.language_models()))
            lost.kill()
            await until(lambda: len(behind_redis.language_models().keys() - {lost}) == 2)
            await clip(client, "wait", "wav", seed=711, seconds=1)

    asyncio.run(scenario())
