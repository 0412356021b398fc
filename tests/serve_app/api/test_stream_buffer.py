"""What all streams together hold back stays within its bound, and all of it is let go, whatever becomes of them."""

from __future__ import annotations

import random
from contextlib import ExitStack

import pytest

from serve_app.api.music_response import StreamBufferPool


def test_a_file_is_its_pieces_in_order() -> None:
    gathering = StreamBufferPool(10)
    with gathering.one() as gathered:
        for piece in (b"abc", b"", b"de"):
            gathered.add(piece)
            gathering.check_integrity()
        assert gathered.whole() == b"abcde"
        assert gathering.size_bytes == 5
    assert gathering.size_bytes == 0


def test_the_file_for_which_there_is_no_room_is_given_up_and_leaves_its_room_to_the_others() -> None:
    gathering = StreamBufferPool(10)
    with gathering.one() as small, gathering.one() as large:
        small.add(b"1234")
        large.add(b"123456")
        large.add(b"7")
        assert large.whole() is None
        large.add(b"8")
        assert large.whole() is None
        small.add(b"567890")
        assert small.whole() == b"1234567890"
        gathering.check_integrity()


def test_no_room_at_all_gathers_nothing() -> None:
    gathering = StreamBufferPool(0)
    with gathering.one() as gathered:
        gathered.add(b"1")
        assert gathered.whole() is None


def test_an_error_lets_go_of_what_was_gathered() -> None:
    gathering = StreamBufferPool(10)

    def gather_and_fail() -> None:
        with gathering.one() as gathered:
            gathered.add(b"123")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        gather_and_fail()
    assert gathering.size_bytes == 0
    gathering.check_integrity()


@pytest.mark.parametrize("seed", range(20))
def test_after_any_steps_of_any_streams_the_count_is_right(seed: int) -> None:
    """Beside the obvious reference: what each file would be if there were room for all."""
    draw = random.Random(seed)
    gathering = StreamBufferPool(64)
    with ExitStack() as streams:
        files = [streams.enter_context(gathering.one()) for _ in range(8)]
        sent = [b""] * len(files)
        for _ in range(60):
            number = draw.randrange(len(files))
            if draw.random() < 0.05:
                files[number].give_up()
            else:
                piece = draw.randbytes(draw.randrange(8))
                files[number].add(piece)
                sent[number] += piece
            gathering.check_integrity()
        wholes = [file.whole() for file in files]
        assert all(whole in (None, each) for whole, each in zip(wholes, sent, strict=True))
        assert sum(len(whole or b"") for whole in wholes) == gathering.size_bytes
    assert gathering.size_bytes == 0
    gathering.check_integrity()
