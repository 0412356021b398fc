"""A file made piece by piece, beside the one made at once."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.sound.containers import CONTAINER_FORMATS, encode, to_int16
from serve_app.sound.streams import SoundStream
from tests.serve_app.sound.test_containers import NAMES, SAMPLE_RATE, TAGGED, TAGS, chord, decode, metadata

SIZED = ("wav", "pcm")
MP3_DELAY = 576 + 529  # LAME's and every decoder's
REPEATABLE = ("wav", "pcm", "flac", "mp3")


def streamed(pcm: np.ndarray, name: str, cuts: list[int]) -> list[bytes]:
    """The bytes that each piece, and then the end, gives."""
    stream = SoundStream(SAMPLE_RATE, pcm.shape[0], pcm.shape[1], CONTAINER_FORMATS[name], TAGS)
    return [*(stream.write(piece) for piece in np.split(pcm, cuts, axis=1)), stream.close()]


def windows(pcm: np.ndarray) -> list[int]:
    return list(range(5120, pcm.shape[1], 32_000))


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("name", SIZED)
@settings(max_examples=20, deadline=None)
@given(num_samples=st.integers(1, 3000), cuts=st.lists(st.integers(0, 3000), max_size=5).map(sorted))
def test_uncompressed_is_the_whole_file_and_its_size_is_known_before(
    name: str, num_channels: int, num_samples: int, cuts: list[int]
) -> None:
    pcm = chord(num_channels, num_samples)
    stream = SoundStream(SAMPLE_RATE, num_channels, num_samples, CONTAINER_FORMATS[name], TAGS)
    data = b"".join(streamed(pcm, name, cuts))
    assert data == encode(pcm, SAMPLE_RATE, CONTAINER_FORMATS[name], TAGS)
    assert stream.size_bytes == len(data)


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("name", ["flac", "mp3", "ogg"])
def test_compressed_sounds_as_the_whole_file_does(name: str, num_channels: int) -> None:
    pcm = chord(num_channels, 2 * SAMPLE_RATE + 123)
    pieces = streamed(pcm, name, windows(pcm))
    whole = decode(encode(pcm, SAMPLE_RATE, CONTAINER_FORMATS[name], TAGS), name, num_channels)
    sound = decode(b"".join(pieces), name, num_channels)
    if name == "mp3":  # a stream can't say that the first samples and the last are the encoder's
        sound = sound[:, MP3_DELAY : MP3_DELAY + whole.shape[1]]
    assert sound.shape == whole.shape
    for ours, theirs in zip(sound, whole, strict=True):
        assert np.corrcoef(ours, theirs)[0, 1] > 0.99


@pytest.mark.parametrize("name", ["flac", "mp3"])
def test_sound_comes_out_with_the_first_piece(name: str) -> None:
    pcm = chord(1, 4 * SAMPLE_RATE)
    tags_only = streamed(pcm[:, :0], name, [])[0]
    first, *_ = streamed(pcm, name, windows(pcm))
    assert len(first) > len(tags_only) + 1000


def test_an_mp3_begins_with_its_sound_and_not_with_a_frame_of_silence() -> None:
    pcm = chord(1, SAMPLE_RATE)
    sound = decode(b"".join(streamed(pcm, "mp3", windows(pcm))), "mp3", 1)[0]
    assert np.abs(sound[MP3_DELAY:][:1000]).max() > 0.3
    assert len(sound) < SAMPLE_RATE + MP3_DELAY + 1152


def test_flac_loses_nothing_and_knows_its_length() -> None:
    pcm = np.random.default_rng(0).uniform(-1, 1, (2, SAMPLE_RATE + 7)).astype(np.float32)
    data = b"".join(streamed(pcm, "flac", windows(pcm)))
    assert soundfile.info(io.BytesIO(data)).frames == pcm.shape[1]
    assert np.array_equal(decode(data, "flac", 2, "int16"), to_int16(pcm))


@pytest.mark.parametrize("name", TAGGED)
def test_a_stream_carries_the_tags_of_the_whole_file(name: str) -> None:
    pcm = chord(1, SAMPLE_RATE)
    whole = metadata(encode(pcm, SAMPLE_RATE, CONTAINER_FORMATS[name], TAGS))
    assert metadata(b"".join(streamed(pcm, name, windows(pcm)))) == whole
    assert whole["comment"]


@pytest.mark.parametrize("name", REPEATABLE)
@pytest.mark.parametrize("cuts", [[], [1, 2, 700], [20_000]])
def test_the_same_sound_gives_the_same_bytes_however_it_is_cut(name: str, cuts: list[int]) -> None:
    pcm = chord(2, SAMPLE_RATE)
    assert b"".join(streamed(pcm, name, cuts)) == b"".join(streamed(pcm, name, windows(pcm)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_samples", [1, 32, 1_000])
def test_the_shortest_clips_are_files_too(name: str, num_samples: int) -> None:
    data = b"".join(streamed(chord(1, num_samples), name, []))
    decoded = decode(data, name, 1)
    assert decoded.shape[1] > num_samples if name == "mp3" else decoded.shape[1] == num_samples


@pytest.mark.parametrize("name", NAMES)
def test_what_was_not_announced_is_refused(name: str) -> None:
    def stream() -> SoundStream:
        return SoundStream(SAMPLE_RATE, 1, 100, CONTAINER_FORMATS[name], TAGS)

    with pytest.raises(ValueError, match=r"pcm is \[1, 101\]"):
        stream().write(chord(1, 101))
    with pytest.raises(ValueError, match=r"pcm is \[2, 100\]"):
        stream().write(chord(2, 100))
    with pytest.raises(ValueError, match="1 of 100 samples are not"):
        stream().write(np.full((1, 100), [np.nan, *[0.0] * 99], np.float32))
    short = stream()
    short.write(chord(1, 99))
    with pytest.raises(ValueError, match="1 of the samples announced have not come"):
        short.close()


def test_a_long_vorbis_stream_in_one_piece_survives() -> None:
    data = b"".join(streamed(np.zeros((1, 4_000_000), np.float32), "ogg", []))
    assert soundfile.info(io.BytesIO(data)).frames == 4_000_000
