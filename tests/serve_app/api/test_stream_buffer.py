"""What all streams together hold back stays within its bound, and all of it is let go, whatever becomes of them."""

from __future__ import annotations

import random
from contextlib import ExitStack

import pytest

from serve_app.api.music_response import StreamBufferPool


def test_a_file_is_its_pieces_in_order() -> None:
    pool = StreamBufferPool(10)
    with pool.open() as buffer:
        for piece in (b"abc", b"", b"de"):
            buffer.add(piece)
            pool.check_integrity()
        assert buffer.whole() == b"abcde"
        assert pool.size_bytes == 5
    assert pool.size_bytes == 0


def test_the_file_for_which_there_is_no_room_is_given_up_and_leaves_its_room_to_the_others() -> None:
    pool = StreamBufferPool(10)
    with pool.open() as small, pool.open() as large:
        small.add(b"1234")
        large.add(b"123456")
        large.add(b"7")
        assert large.whole() is None
        large.add(b"8")
        assert large.whole() is None
        small.add(b"567890")
        assert small.whole() == b"1234567890"
        pool.check_integrity()


def test_without_memory_nothing_is_buffered() -> None:
    pool = StreamBufferPool(0)
    with pool.open() as buffer:
        buffer.add(b"1")
        assert buffer.whole() is None


def test_an_error_frees_what_was_buffered() -> None:
    pool = StreamBufferPool(10)

    def buffer_and_fail() -> None:
        with pool.open() as buffer:
            buffer.add(b"123")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        buffer_and_fail()
    assert pool.size_bytes == 0
    pool.check_integrity()


@pytest.mark.parametrize("seed", range(20))
def test_after_any_steps_of_any_streams_the_count_is_right(seed: int) -> None:
    """Beside the obvious reference: what each file would be if there were room for all."""
    draw = random.Random(seed)
    pool = StreamBufferPool(64)
    with ExitStack() as streams:
        files = [streams.enter_context(pool.open()) for _ in range(8)]
        sent = [b""] * len(files)
        for _ in range(60):
            number = draw.randrange(len(files))
            if draw.random() < 0.05:
                files[number].give_up()
            else:
                piece = draw.randbytes(draw.randrange(8))
                files[number].add(piece)
                sent[number] += piece
            pool.check_integrity()
        wholes = [file.whole() for file in files]
        assert all(whole in (None, each) for whole, each in zip(wholes, sent, strict=True))
        assert sum(len(whole or b"") for whole in wholes) == pool.size_bytes
    assert pool.size_bytes == 0
    pool.check_integrity()
