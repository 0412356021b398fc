"""Files on their way: made once, shared, and gone with the last who reads them, whichever way."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest

from deployments.messages import GenerationStart
from serve_app.api.backends import CachedFile, SoundFile
from serve_app.api.spool import MAX_MAKING, PIECE_BYTES, Spool
from serve_app.errors import NotFound, NotReady
from tests.serve_app.api.middleware.test_hangup import PATIENCE_S, assert_no_task_is_left
from tests.serve_app.api.service import IDENTITY

START = GenerationStart("a" * 64, 7, "hit", IDENTITY, 0)


def kept(sound: bytes) -> CachedFile:
    return CachedFile(START, SoundFile(sound, "audio/pcm", 32_000, 1, 100))


def open_files() -> int:
    """Of this process, without a name."""
    return sum("(deleted)" in os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())


class Maker:
    """Makes a file, once it may."""

    def __init__(self, sound: bytes = b"sound", error: Exception | None = None) -> None:
        self.sound = sound
        self.error = error
        self.begun = 0
        self.ended = 0
        self.may = asyncio.Event()

    async def __call__(self) -> CachedFile:
        self.begun += 1
        try:
            await self.may.wait()
            if self.error is not None:
                raise self.error
            return kept(self.sound)
        finally:
            self.ended += 1


async def read(spool: Spool, name: str, maker: Any, first: int = 0, end: int | None = None) -> bytes:
    async with spool.reading(name, maker) as spooled:
        stop = spooled.size_bytes if end is None else end
        return b"".join([piece async for piece in spooled.pieces(first, stop)])


def test_what_is_read_is_what_was_made_piece_by_piece() -> None:
    sound = random.Random(1).randbytes(3 * PIECE_BYTES + 5)

    async def scenario() -> None:
        spool, maker = Spool(), Maker(sound)
        maker.may.set()
        before = open_files()
        async with spool.reading("a", maker) as spooled:
            pieces = [piece async for piece in spooled.pieces(0, spooled.size_bytes)]
            assert [len(piece) for piece in pieces] == [PIECE_BYTES] * 3 + [5]
            assert b"".join(pieces) == sound
            assert await read(spool, "a", maker, 7, 2 * PIECE_BYTES) == sound[7 : 2 * PIECE_BYTES]
            assert (spool.num_files, open_files()) == (1, before + 1)
        assert (spool.num_files, open_files(), maker.begun) == (0, before, 1)
        assert_no_task_is_left()

    asyncio.run(scenario())


def test_a_file_is_made_again_when_all_have_left() -> None:
    async def scenario() -> None:
        spool, maker = Spool(), Maker()
        maker.may.set()
        assert [await read(spool, "a", maker) for _ in range(3)] == [b"sound"] * 3
        assert maker.begun == 3

    asyncio.run(scenario())


def test_one_that_leaves_takes_nothing_from_the_others_and_the_last_ends_the_making() -> None:
    async def scenario() -> None:
        spool, maker = Spool(), Maker()
        first, second = (asyncio.create_task(read(spool, "a", maker)) for _ in range(2))
        while not maker.begun:
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait({first})
        assert (maker.begun, maker.ended, spool.num_files) == (1, 0, 1)
        second.cancel()
        await asyncio.wait({second})
        assert (maker.begun, maker.ended, spool.num_files) == (1, 1, 0)
        assert_no_task_is_left()

    asyncio.run(scenario())


def test_what_fails_fails_for_all_who_wait_and_is_tried_anew_by_the_next() -> None:
    async def scenario() -> None:
        spool, maker = Spool(), Maker(error=NotFound("Gone."))
        reading = [asyncio.create_task(read(spool, "a", maker)) for _ in range(3)]
        await asyncio.sleep(0)
        maker.may.set()
        results = await asyncio.gather(*reading, return_exceptions=True)
        assert all(isinstance(result, NotFound) for result in results)
        assert (maker.begun, spool.num_files) == (1, 0)
        maker.error = None
        assert await read(spool, "a", maker) == b"sound"
        assert_no_task_is_left()

    asyncio.run(scenario())


def test_no_more_than_some_are_made_at_once() -> None:
    async def scenario() -> None:
        spool, maker = Spool(), Maker()
        reading = [asyncio.create_task(read(spool, str(number), maker)) for number in range(3 * MAX_MAKING)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert maker.begun == MAX_MAKING
        maker.may.set()
        assert await asyncio.gather(*reading) == [b"sound"] * (3 * MAX_MAKING)

    asyncio.run(scenario())


@pytest.mark.parametrize("where", ["opening", "writing"])
def test_a_disk_without_room_is_a_service_that_is_not_ready(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full has no room for a single byte."""

    def full(*_: object) -> object:
        if where == "opening":
            raise OSError(errno.EMFILE, "Too many open files")
        return open("/dev/full", "wb")

    async def scenario() -> None:
        spool, maker = Spool(), Maker(b"a" * 100_000)
        maker.may.set()
        monkeypatch.setattr(tempfile, "TemporaryFile", full)
        with pytest.raises(NotReady, match="no room"):
            await read(spool, "a", maker)
        monkeypatch.undo()
        assert await read(spool, "a", maker) == maker.sound

    asyncio.run(scenario())


def test_any_order_of_coming_and_going_leaves_nothing() -> None:
    async def scenario(seed: int) -> None:
        draw = random.Random(seed)
        spool, before = Spool(), open_files()
        makers = {name: Maker(name.encode() * 100) for name in "abc"}

        async def reader(name: str) -> None:
            async with spool.reading(name, makers[name]) as spooled:
                for _ in range(draw.randrange(4)):
                    async for piece in spooled.pieces(0, spooled.size_bytes):
                        assert piece == makers[name].sound
                        await asyncio.sleep(0)

        tasks: list[asyncio.Task[None]] = []
        for _ in range(60):
            what = draw.random()
            if what < 0.5:
                tasks.append(asyncio.create_task(reader(draw.choice("abc"))))
            elif what < 0.8 and tasks:
                draw.choice(tasks).cancel()
            else:
                maker = makers[draw.choice("abc")]
                maker.may.clear() if maker.may.is_set() and draw.random() < 0.5 else maker.may.set()
            for _ in range(draw.randrange(5)):
                await asyncio.sleep(0)
            spool.check_integrity()
        for maker in makers.values():
            maker.may.set()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE_S)
        assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
        assert (spool.num_files, open_files()) == (0, before)
        assert all(maker.begun == maker.ended for maker in makers.values())
        assert_no_task_is_left()

    for seed in range(40):
        asyncio.run(scenario(seed))
