"""A part of a finished file, or none of it for whoever has it."""

from __future__ import annotations

import asyncio

import pytest

from serve_app.sound.containers import CONTAINER_FORMATS
from tests.serve_app.api.service import fault
from tests.serve_app.api.test_audio import REPEATABLE, Made


@pytest.mark.parametrize("name", REPEATABLE)
@pytest.mark.parametrize(
    ("asked", "first", "end"), [("0-0", 0, 1), ("10-", 10, None), ("-7", -7, None), ("5-99999999", 5, None)]
)
def test_a_range_is_that_part_of_the_whole(name: str, asked: str, first: int, end: int | None) -> None:
    async def scenario() -> None:
        made = await Made.one()
        query = f"?output_format={name}"
        whole = await made.get(query)
        part = await made.get(query, Range=f"bytes={asked}")
        assert (part.status_code, part.content) == (206, whole.content[first:end])
        size = len(whole.content)
        start, stop, _ = slice(first, end).indices(size)
        assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
        assert part.headers["etag"] == whole.headers["etag"]
        assert whole.headers["accept-ranges"] == part.headers["accept-ranges"] == "bytes"
        assert (part.headers["content-type"], int(part.headers["content-length"])) == (
            whole.headers["content-type"],
            len(part.content),
        )

    asyncio.run(scenario())


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "bytes=x", "frames=0-1", "bytes=9-1"])
def test_several_ranges_or_none_are_the_whole(asked: str) -> None:
    async def scenario() -> None:
        made = await Made.one()
        assert (await made.get(Range=asked)).status_code == 200
        assert "content-range" not in (await made.get(Range=asked)).headers

    asyncio.run(scenario())


def test_a_range_beyond_the_end_is_told_the_size() -> None:
    async def scenario() -> None:
        made = await Made.one()
        size = len((await made.get()).content)
        answer = await made.get(Range=f"bytes={size}-")
        assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}")
        assert fault(answer)["param"] == "Range"

    asyncio.run(scenario())


def test_a_download_goes_on_only_with_the_file_that_it_began_with() -> None:
    async def scenario() -> None:
        made = await Made.one()
        whole = await made.get()
        tag = whole.headers["etag"]
        for if_range, status in (
            (tag, 206),
            ('"other"', 200),
            (f"W/{tag}", 200),
            ("Sat, 01 Jan 2000 00:00:00 GMT", 200),
        ):
            answer = await made.get(Range="bytes=100-", If_Range=if_range)
            assert answer.status_code == status
            assert answer.content == (whole.content[100:] if status == 206 else whole.content)

    asyncio.run(scenario())


def test_of_a_file_whose_bytes_differ_each_time_there_are_no_parts() -> None:
    async def scenario() -> None:
        made = await Made.one()
        whole = await made.get("?output_format=ogg")
        assert whole.headers["etag"].startswith('W/"')
        assert whole.headers["accept-ranges"] == "none"
        part = await made.get("?output_format=ogg", Range="bytes=0-1", If_Range=whole.headers["etag"])
        assert (part.status_code, part.content) == (200, whole.content)

    asyncio.run(scenario())


def test_every_file_has_a_tag_of_its_own_and_the_same_for_the_same_music() -> None:
    async def tags() -> list[str]:
        made, longer = await Made.one(), await Made.one(music_length_ms=101)
        answers = [await made.get(f"?output_format={name}") for name in CONTAINER_FORMATS]
        answers += [await longer.get(), await (await Made.one(seed=8)).get()]
        return [answer.headers["etag"] for answer in answers]

    first, again = asyncio.run(tags()), asyncio.run(tags())
    assert first == again
    assert len(set(first)) == len(first)


@pytest.mark.parametrize("name", list(CONTAINER_FORMATS))
def test_who_has_the_file_is_told_so_and_nothing_is_made(name: str) -> None:
    async def scenario() -> None:
        made = await Made.one()
        query = f"?output_format={name}"
        tag = (await made.get(query)).headers["etag"]
        opaque = tag.removeprefix("W/")
        made.backend.decoded = 0
        made.backend.files.clear()
        for sent in (tag, "*", f'W/"x", {tag}', f"W/{opaque}", f'"x",{opaque},"y"'):
            for method in ("GET", "HEAD"):
                answer = await made.get(query, method, If_None_Match=sent, Range="bytes=0-1")
                assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
        assert made.backend.decoded == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("sent", ['"x"', "", "x", '"', 'W/"', '"' * 10_001, "W/" * 5_000])
def test_who_has_another_file_is_sent_this_one(sent: str) -> None:
    made = asyncio.run(Made.one())
    assert asyncio.run(made.get(If_None_Match=sent)).status_code == 200
