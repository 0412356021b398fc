from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
import soundfile

from serve_app.sound.containers import (
    CONTAINER_FORMATS,
    DEFAULT_FORMAT,
    ContainerFormat,
    Tags,
    container_key,
    encode,
    to_int16,
)
from serve_app.sound.streams import SoundStream

SAMPLE_RATE = 32_000
TAGS = Tags(generation_id="00ff" * 8, seed=2**64 - 1, duration_ms=2_500, model="etude", license="CC-BY-NC-4.0")
NAMES = tuple(CONTAINER_FORMATS)
LOSSLESS = tuple(name for name, container in CONTAINER_FORMATS.items() if container.lossless)
TAGGED = tuple(name for name, container in CONTAINER_FORMATS.items() if container.has_tags)


def chord(num_channels: int, num_samples: int) -> np.ndarray:
    """float32 [C, N]: another tone in each channel."""
    time_s = np.arange(num_samples) / SAMPLE_RATE
    tones = [0.5 * np.sin(2 * np.pi * 220 * (channel + 1) * time_s) for channel in range(num_channels)]
    return np.asarray(tones, np.float32)


def decode(data: bytes, name: str, num_channels: int, dtype: str = "float32") -> np.ndarray:
    """[C, N], read by libsndfile; raw samples by numpy."""
    if name == "pcm":
        samples = np.frombuffer(data, "<i2").reshape(-1, num_channels).T
        return samples if dtype == "int16" else np.asarray(samples / 32768, np.float32)
    samples, sample_rate = soundfile.read(io.BytesIO(data), dtype=dtype, always_2d=True)
    assert sample_rate == SAMPLE_RATE
    decoded: np.ndarray = samples.T
    return decoded


def metadata(data: bytes) -> dict[str, str]:
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        return dict(file.copy_metadata())


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_every_container_keeps_every_sample_and_channel(name: str, num_channels: int) -> None:
    pcm = chord(num_channels, 2 * SAMPLE_RATE + 123)
    decoded = decode(encode(pcm, SAMPLE_RATE, CONTAINER_FORMATS[name], TAGS), name, num_channels)
    assert decoded.shape == pcm.shape
    for ours, theirs in zip(pcm, decoded, strict=True):
        assert np.corrcoef(ours, theirs)[0, 1] > 0.99


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_containers_are_within_one_sixteen_bit_step(name: str, num_channels: int) -> None:
    pcm = np.random.default_rng(0).uniform(-1, 1, (num_channels, SAMPLE_RATE + 7)).astype(np.float32)
    pcm[:, :3] = [1.0, -1.0, 0.0]
    data = encode(pcm, SAMPLE_RATE, CONTAINER_FORMATS[name], TAGS)
    assert np.abs(decode(data, name, num_channels) - pcm).max() <= 1 / 32768
    assert np.array_equal(decode(data, name, num_channels, "int16"), to_int16(pcm))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_samples", [1, 32, 1_000])
def test_the_shortest_clips_keep_their_length(name: str, num_samples: int) -> None:
    data = encode(chord(1, num_samples), SAMPLE_RATE, CONTAINER_FORMATS[name], TAGS)
    assert decode(data, name, 1).shape == (1, num_samples)


def test_a_vorbis_write_of_four_million_samples_survives() -> None:
    num_samples = 4_000_000
    data = encode(np.zeros((1, num_samples), np.float32), SAMPLE_RATE, CONTAINER_FORMATS["ogg"], TAGS)
    assert soundfile.info(io.BytesIO(data)).frames == num_samples


@pytest.mark.parametrize("name", NAMES)
def test_what_lies_beyond_full_scale_is_clamped(name: str) -> None:
    loud = 4 * chord(1, SAMPLE_RATE)
    container = CONTAINER_FORMATS[name]
    clamped = decode(encode(np.clip(loud, -1, 1), SAMPLE_RATE, container, TAGS), name, 1)
    assert np.array_equal(decode(encode(loud, SAMPLE_RATE, container, TAGS), name, 1), clamped)


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "pcm"])
def test_the_same_clip_and_tags_give_the_same_bytes(name: str) -> None:
    container = CONTAINER_FORMATS[name]
    first = encode(chord(2, SAMPLE_RATE), SAMPLE_RATE, container, TAGS)
    assert encode(chord(2, SAMPLE_RATE), SAMPLE_RATE, container, TAGS) == first
    assert encode(0.9 * chord(2, SAMPLE_RATE), SAMPLE_RATE, container, TAGS) != first


@pytest.mark.parametrize("name", TAGGED)
def test_every_tag_is_in_the_comment_and_the_title_tells_clips_apart(name: str) -> None:
    texts = metadata(encode(chord(1, 500), SAMPLE_RATE, CONTAINER_FORMATS[name], TAGS))
    assert dict(fact.split("=") for fact in texts["comment"].split("; ")) == {
        "generation": TAGS.generation_id,
        "seed": str(TAGS.seed),
        "duration_ms": str(TAGS.duration_ms),
        "model": TAGS.model,
        "license": TAGS.license,
    }
    assert texts["title"] == f"{TAGS.model} {TAGS.generation_id}"


@pytest.mark.parametrize(("name", "field"), [("wav", "copyright"), ("flac", "license"), ("ogg", "license")])
def test_the_licence_stands_in_the_containers_own_field_for_it(name: str, field: str) -> None:
    texts = metadata(encode(chord(1, 500), SAMPLE_RATE, CONTAINER_FORMATS[name], TAGS))
    assert texts[field] == TAGS.license
    assert texts["software"].startswith("musicgen-serve")


def test_raw_samples_are_little_endian_interleaved_and_nothing_else() -> None:
    pcm = chord(2, 100)
    assert encode(pcm, SAMPLE_RATE, CONTAINER_FORMATS["pcm"], TAGS) == to_int16(pcm).T.astype("<i2").tobytes()


@pytest.mark.parametrize("name", TAGGED)
def test_a_name_beyond_ascii_is_spelt_out_in_the_tags(name: str) -> None:
    tags = dataclasses.replace(TAGS, model="étude")
    assert "model=\\xe9tude" in metadata(encode(chord(1, 500), SAMPLE_RATE, CONTAINER_FORMATS[name], tags))["comment"]


@pytest.mark.parametrize(
    ("pcm", "message"),
    [
        (np.zeros((0, 10), np.float32), r"\[channels, samples\]"),
        (np.zeros((1, 0), np.float32), "at least one sample"),
        (np.zeros(10, np.float32), r"\[channels, samples\]"),
        (np.zeros((1, 1, 10), np.float32), r"\[channels, samples\]"),
        (np.zeros((1, 10), np.int16), "float"),
        (np.array([[0.0, np.nan]], np.float32), "1 of 2 samples"),
        (np.array([[np.inf, -np.inf]], np.float32), "2 of 2 samples"),
    ],
)
def test_invalid_pcm_is_refused(pcm: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode(pcm, SAMPLE_RATE, DEFAULT_FORMAT, TAGS)


def test_wav_is_the_default() -> None:
    assert DEFAULT_FORMAT is CONTAINER_FORMATS["wav"]


@pytest.mark.parametrize("container", CONTAINER_FORMATS.values(), ids=list(CONTAINER_FORMATS))
def test_one_key_stands_for_one_files_bytes(container: ContainerFormat) -> None:
    pcm = np.sin(np.arange(3200, dtype=np.float32) / 10)[None]
    whole = encode(pcm, 32_000, container, TAGS)
    stream = SoundStream(32_000, 1, pcm.shape[1], container, TAGS)
    streamed = stream.write(pcm[:, :1000]) + stream.write(pcm[:, 1000:]) + stream.close()
    assert (whole == streamed) == (container_key(container) == container_key(container, streamed=True))


def test_no_two_forms_share_a_key_but_those() -> None:
    keys = {
        container_key(container, streamed=streamed)
        for container in CONTAINER_FORMATS.values()
        for streamed in (False, True)
    }
    assert keys == {"wav", "pcm", "flac", "mp3", "ogg", "flac stream", "mp3 stream", "ogg stream"}
