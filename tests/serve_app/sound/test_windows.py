"""Sound decoded while codes still come, compared with the clip decoded at once, by a real codec."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.codec_decoder.codec import Codec, decode, decode_window
from deployments.codec_decoder.windows import num_frames, num_samples, windows
from deployments.messages import (
    CodeFrames,
    CodeWindow,
    DecodedWindow,
    MusicRequest,
    PcmChunk,
    Sampling,
    SoundFormat,
)
from serve_app.sound.windows import IncompleteGeneration, collect_clip, decode_stream
from tests.deployments.codec_decoder.random_codec import (
    decode_in_one_run,
    random_codec,
    random_codes,
    relative_error,
)

CODEC = random_codec("musicgen")
STEREO = random_codec("musicgen", channels=2)


class LocalCodec:
    """A codec in the same process, that counts its windows."""

    def __init__(self, codec: Codec = CODEC) -> None:
        self.codec = codec
        self.num_windows = 0

    @property
    def sound(self) -> SoundFormat:
        return SoundFormat(self.codec.sample_rate, self.codec.channels, self.codec.frame_rate, self.codec.lookahead)

    async def decode(self, window: CodeWindow) -> DecodedWindow:
        self.num_windows += 1
        return decode_window(self.codec, window)


class Frames:
    """A language model's stream of these codes, in chunks of these sizes and then the rest; knows what was read."""

    def __init__(self, codes: np.ndarray, sizes: Sequence[int] = ()) -> None:
        cuts = [cut for cut in np.cumsum(sizes, dtype=int) if cut < codes.shape[1]]
        self.parts = np.split(codes, cuts, axis=1)
        self.num_read = 0
        self.closed = False

    async def __call__(self) -> AsyncGenerator[CodeFrames, None]:
        try:
            for part in self.parts:
                first = self.num_read
                self.num_read += part.shape[1]
                yield CodeFrames("id", first, part, False)
        finally:
            self.closed = True


def request(duration_ms: int) -> MusicRequest:
    return MusicRequest("id", "model", "a tone", duration_ms, 0, Sampling())


def codes_of(duration_ms: int, codec: Codec = CODEC) -> np.ndarray:
    return random_codes(codec, num_frames(duration_ms, codec.frame_rate))


async def chunks_of(frames: Frames, duration_ms: int, codec: LocalCodec) -> list[PcmChunk]:
    return [chunk async for chunk in decode_stream(frames(), request(duration_ms), codec.sound, codec)]


def pcm_of(chunks: list[PcmChunk]) -> np.ndarray:
    return np.concatenate([chunk.pcm for chunk in chunks], axis=1)


@settings(max_examples=30, deadline=None)
@given(duration_ms=st.integers(1, 3000), sizes=st.lists(st.integers(1, 40), max_size=20))
def test_a_stream_is_the_clip_decoded_in_one_run_however_codes_arrive(duration_ms: int, sizes: list[int]) -> None:
    codes = codes_of(duration_ms)
    pcm = pcm_of(asyncio.run(chunks_of(Frames(codes, sizes), duration_ms, LocalCodec())))
    assert pcm.shape == (1, num_samples(duration_ms, CODEC.sample_rate))
    reference = decode_in_one_run(CODEC, codes)[:, : pcm.shape[1]]
    assert relative_error(pcm, reference) < 1e-4


@settings(max_examples=30, deadline=None)
@given(duration_ms=st.integers(1, 3000), sizes=st.lists(st.integers(1, 40), max_size=20))
def test_how_codes_arrive_changes_no_bit(duration_ms: int, sizes: list[int]) -> None:
    codes = codes_of(duration_ms)
    at_once = decode(CODEC, codes)[:, : num_samples(duration_ms, CODEC.sample_rate)]
    chunks = asyncio.run(chunks_of(Frames(codes, sizes), duration_ms, LocalCodec()))
    assert np.array_equal(pcm_of(chunks), at_once)
    assert np.array_equal(np.concatenate([chunk.codes for chunk in chunks], axis=1), codes)


def test_a_whole_clip_is_its_stream_collected() -> None:
    async def scenario() -> None:
        codes = codes_of(2_345, STEREO)
        codec = LocalCodec(STEREO)
        clip = await collect_clip(decode_stream(Frames(codes, [7] * 20)(), request(2_345), codec.sound, codec))
        assert np.array_equal(clip.pcm, decode(STEREO, codes)[:, : num_samples(2_345, 32_000)])
        assert np.array_equal(clip.codes, codes)
        assert clip.sample_rate == 32_000

    asyncio.run(scenario())


def test_the_first_sound_comes_when_twelve_frames_are_there() -> None:
    async def scenario() -> None:
        frames = Frames(codes_of(10_000), [1] * 500)
        codec = LocalCodec()
        async with aclosing(decode_stream(frames(), request(10_000), codec.sound, codec)) as chunks:
            for _, end in list(windows(500, 4))[:3]:
                await anext(chunks)
                assert frames.num_read == end + 4

    asyncio.run(scenario())


def test_no_window_is_decoded_before_it_is_read() -> None:
    """A slow reader holds one window of sound, whatever has been generated."""

    async def scenario() -> None:
        frames, codec = Frames(codes_of(30_000)), LocalCodec()
        async with aclosing(decode_stream(frames(), request(30_000), codec.sound, codec)) as chunks:
            for taken in range(5):
                assert codec.num_windows == taken
                await anext(chunks)
            assert frames.num_read == 1500

    asyncio.run(scenario())


def test_leaving_early_closes_the_stream_of_codes() -> None:
    async def scenario() -> None:
        frames, codec = Frames(codes_of(5_000), [20] * 10), LocalCodec()
        async with aclosing(decode_stream(frames(), request(5_000), codec.sound, codec)) as chunks:
            await anext(chunks)
        assert frames.closed

    asyncio.run(scenario())


def test_a_generation_that_ends_early_is_an_error_after_what_it_made() -> None:
    async def scenario() -> None:
        codec = LocalCodec()
        frames = Frames(codes_of(1_000), [20, 10])
        frames.parts.pop()
        chunks = decode_stream(frames(), request(1_000), codec.sound, codec)
        assert sum([(await anext(chunks)).pcm.shape[1] for _ in range(2)]) == 17 * CODEC.hop
        with pytest.raises(IncompleteGeneration, match="30 of 50 frames came"):
            await collect_clip(chunks)
        assert frames.closed

    asyncio.run(scenario())
