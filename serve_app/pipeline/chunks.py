"""At which numbers of frames a language model tells what it has made."""

from __future__ import annotations

from collections.abc import Iterator

from deployments.codec_decoder.windows import windows

# Half of the largest window. What a worker has made since, and what was on its way, is made again when it is lost.
MOST_FRAMES = 25


def chunk_ends(num_frames: int, lookahead: int) -> Iterator[int]:
    """In order, to the last: where a window of sound can be decoded, and between those as often as MOST_FRAMES asks.

    As `windows`, which depend on the frame number alone, but for the last: so do these.
    """
    told = 0
    for _, end in windows(num_frames, lookahead):
        new = min(end + lookahead, num_frames) - told
        parts = -(-new // MOST_FRAMES)
        yield from (told + new * part // parts for part in range(1, parts + 1))
        told += new
