"""Containers: PCM in, the bytes of a sound file out; and the part of a file's cache key that the container decides.

The same clip with the same tags gives the same bytes in wav, flac, mp3 and pcm. It does not in ogg: a Vorbis
stream carries a serial number that libsndfile draws at random.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import soundfile

SOFTWARE = "musicgen-serve"


@dataclass(frozen=True)
class ContainerFormat:
    """One way to put sound into a file, in libsndfile's terms (`major`, `subtype`).

    lossless: the samples come back as the 16-bit integers `to_int16` makes of them.
    has_tags: the container has a place for text; without one the file is samples and nothing else.
    compression_level: libsndfile's 0 (best) to 1 (smallest), for the lossy codecs. bitrate_mode: libsndfile's name.
    """

    name: str
    media_type: str
    extension: str
    major: str
    subtype: str
    lossless: bool = True
    has_tags: bool = True
    compression_level: float | None = None
    bitrate_mode: str | None = None


# 0.2 is LAME's V2 and Vorbis' q8, where listeners stop telling the copy from the original.
CONTAINER_FORMATS: Mapping[str, ContainerFormat] = MappingProxyType(
    {
        container.name: container
        for container in (
            ContainerFormat("wav", "audio/wav", "wav", "WAV", "PCM_16"),
            ContainerFormat("flac", "audio/flac", "flac", "FLAC", "PCM_16"),
            ContainerFormat("mp3", "audio/mpeg", "mp3", "MP3", "MPEG_LAYER_III", lossless=False, compression_level=0.2),
            ContainerFormat("ogg", "audio/ogg", "ogg", "OGG", "VORBIS", lossless=False, compression_level=0.2),
            ContainerFormat("pcm", "audio/pcm", "pcm", "RAW", "PCM_16", has_tags=False),
        )
    }
)
DEFAULT_FORMAT = CONTAINER_FORMATS["wav"]


@dataclass(frozen=True)
class Tags:
    """What a file says of itself: enough to make it again, and on what terms it may be used."""

    generation_id: str
    seed: int
    duration_ms: int
    model: str
    license: str

    def texts(self) -> dict[str, str]:
        """libsndfile's text fields, in ASCII since ID3 and RIFF agree on nothing more.

        wav has no licence field and mp3 neither that nor copyright nor software, so the comment holds every fact.
        """
        facts = {
            "generation": self.generation_id,
            "seed": self.seed,
            "duration_ms": self.duration_ms,
            "model": self.model,
            "license": self.license,
        }
        texts = {
            "title": f"{self.model} {self.generation_id}",
            "software": SOFTWARE,
            "license": self.license,
            "copyright": self.license,
            "comment": "; ".join(f"{name}={value}" for name, value in facts.items()),
        }
        return {field: text.encode("ascii", "backslashreplace").decode("ascii") for field, text in texts.items()}


def encode(pcm: np.ndarray, sample_rate: int, container: ContainerFormat, tags: Tags) -> bytes:
    """The sound file of a clip.

    pcm: float [C, N], N >= 1, nominally in [-1, 1]; what lies beyond is clamped. sample_rate: samples a second.
    Every container keeps all N samples. Raises ValueError where pcm is no sound, soundfile.LibsndfileError where
    the codec does not know the rate or the number of channels (mp3: MPEG's rates, one or two channels).
    """
    check_pcm(pcm)
    if pcm.size == 0:
        raise ValueError(f"pcm must hold at least one sample, not {list(pcm.shape)}")
    interleaved = interleave(pcm, container)
    sink = io.BytesIO()
    with open_file(sink, sample_rate, pcm.shape[0], container, tags) as file:
        # One write of a long Vorbis stream overflows libsndfile's stack; a second at a time does not.
        for start in range(0, len(interleaved), sample_rate):
            file.write(interleaved[start : start + sample_rate])
    return sink.getvalue()


def open_file(
    sink: object, sample_rate: int, num_channels: int, container: ContainerFormat, tags: Tags
) -> soundfile.SoundFile:
    """libsndfile's side of a file to be written to `sink`, its tags set. Raises as `encode`."""
    file = soundfile.SoundFile(
        sink,
        "w",
        samplerate=sample_rate,
        channels=num_channels,
        format=container.major,
        subtype=container.subtype,
        endian="LITTLE" if container.major == "RAW" else None,
        compression_level=container.compression_level,
        bitrate_mode=container.bitrate_mode,
    )
    if container.has_tags:
        for field, text in tags.texts().items():
            setattr(file, field, text)
    return file


def interleave(pcm: np.ndarray, container: ContainerFormat) -> np.ndarray:
    """float [C, N] → [N, C] as the container's encoder takes it: int16, or float in [-1, 1] for the lossy ones."""
    samples = to_int16(pcm) if container.lossless else np.clip(pcm, -1.0, 1.0)
    return np.ascontiguousarray(samples.T)


def to_int16(pcm: np.ndarray) -> np.ndarray:
    """float [C, N] → int16 [C, N]: nearest of 1/32768 steps, clamped; within one step of the input in [-1, 1]."""
    return np.clip(np.rint(pcm * 32768.0), -32768, 32767).astype(np.int16)


def check_pcm(pcm: np.ndarray) -> None:
    """Raises: ValueError unless it is float [C, N] and finite."""
    if pcm.ndim != 2 or len(pcm) == 0 or not np.issubdtype(pcm.dtype, np.floating):
        raise ValueError(f"pcm must be float [channels, samples], not {pcm.dtype} {list(pcm.shape)}")
    if not np.isfinite(pcm).all():
        raise ValueError(f"pcm must be finite, but {int((~np.isfinite(pcm)).sum())} of {pcm.size} samples are not")


# A stream of the others lacks what only its end would tell (see `serve_app.sound.streams`).
_SAME_STREAMED = frozenset({"wav", "pcm"})


def container_key(container: ContainerFormat, *, streamed: bool = False) -> str:
    """The container's name, and for a streamed file whose bytes are not those of the whole one, a name of its own."""
    return f"{container.name} stream" if streamed and container.name not in _SAME_STREAMED else container.name
