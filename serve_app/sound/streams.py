"""Containers, piece by piece: the bytes of a sound file come out while its sound still comes in.

Bytes that were handed out are never changed. WAV and PCM are byte for byte the file that `containers.encode` makes,
since the length is known before the sound. The others lack what can only be known at the end: FLAC its checksum, MP3
its table of seek points. Without that table only a constant bit rate lets a player tell an MP3's length.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from serve_app.sound.containers import (
    CONTAINER_FORMATS,
    ContainerFormat,
    Tags,
    check_pcm,
    encode,
    interleave,
    open_file,
)

_ID3_HEADER_BYTES = 10
_MPEG_HEADER_BYTES = 4
_MP3_STREAM = replace(CONTAINER_FORMATS["mp3"], bitrate_mode="CONSTANT", compression_level=0.55)  # 160 kbit/s at 32 kHz
# "fLaC", a block header, and STREAMINFO up to the checksum; its last 36 bits are the number of samples (RFC 9639, 8.2).
_FLAC_HEAD_BYTES = 4 + 4 + 18


class SoundStream:
    """One sound file as a stream: `write` its sound in order, then `close`. Both return the bytes that are ready.

    Not thread-safe. num_samples: per channel, in all. The other arguments are those of `containers.encode`.

    Attributes:
        size_bytes: of the whole file; None for compressed ones, where it is not known in advance.

    Raises: as `containers.encode`; ValueError for more or fewer samples than announced.
    """

    def __init__(
        self, sample_rate: int, num_channels: int, num_samples: int, container: ContainerFormat, tags: Tags
    ) -> None:
        self._container = container
        self._samples_left = num_samples
        self._num_channels = num_channels
        self._encoder: _Uncompressed | _Compressed
        if container.major in ("WAV", "RAW"):
            self._encoder = _Uncompressed(sample_rate, num_channels, num_samples, container, tags)
            self.size_bytes: int | None = self._encoder.size_bytes
        else:
            self._encoder = _Compressed(sample_rate, num_channels, num_samples, container, tags)
            self.size_bytes = None

    def write(self, pcm: np.ndarray) -> bytes:
        """pcm: float [C, n], clamped where it lies beyond [-1, 1]."""
        check_pcm(pcm)
        if len(pcm) != self._num_channels or pcm.shape[1] > self._samples_left:
            announced = f"[{self._num_channels}, up to {self._samples_left}]"
            raise ValueError(f"pcm is {list(pcm.shape)}, and {announced} was announced")
        self._samples_left -= pcm.shape[1]
        return self._encoder.write(interleave(pcm, self._container))

    def close(self) -> bytes:
        """The last bytes."""
        if self._samples_left:
            raise ValueError(f"{self._samples_left} of the samples announced have not come")
        return self._encoder.close()


class _Uncompressed:
    """A header, if the container has one, and 16-bit samples."""

    def __init__(
        self, sample_rate: int, num_channels: int, num_samples: int, container: ContainerFormat, tags: Tags
    ) -> None:
        bytes_per_sample = 2 * num_channels
        # libsndfile's own header, of a file of one sample; its two sizes are corrected to this file's.
        one = encode(np.zeros((num_channels, 1), np.float32), sample_rate, container, tags)
        header = bytearray(one[:-bytes_per_sample])
        if header:
            for place in (4, len(header) - 4):
                size_bytes = int.from_bytes(header[place : place + 4], "little") + bytes_per_sample * (num_samples - 1)
                header[place : place + 4] = size_bytes.to_bytes(4, "little")
        self._header = bytes(header)
        self.size_bytes = len(header) + bytes_per_sample * num_samples

    def write(self, samples: np.ndarray) -> bytes:
        header, self._header = self._header, b""
        return header + samples.astype("<i2").tobytes()

    def close(self) -> bytes:
        return self._header


class _Compressed:
    """What libsndfile has encoded so far, but for the head of the file until that is whole and right."""

    def __init__(
        self, sample_rate: int, num_channels: int, num_samples: int, container: ContainerFormat, tags: Tags
    ) -> None:
        self._sink = _Sink()
        encoded_as = _MP3_STREAM if container.major == "MP3" else container
        self._file = open_file(self._sink, sample_rate, num_channels, encoded_as, tags)
        self._num_samples = num_samples
        self._head_of = {"FLAC": self._flac_head, "MP3": _mp3_head}.get(container.major, bytes)
        self._head: bytes | None = b""

    def write(self, samples: np.ndarray) -> bytes:
        # More than a second in one write of Vorbis overflows libsndfile's stack.
        for start in range(0, len(samples), self._file.samplerate):
            self._file.write(samples[start : start + self._file.samplerate])
        return self._ready()

    def close(self) -> bytes:
        self._file.close()
        return self._ready()

    def _ready(self) -> bytes:
        new = self._sink.take()
        if self._head is None:
            return new
        head = self._head_of(self._head + new)
        self._head = self._head + new if head is None else None
        return head or b""

    def _flac_head(self, head: bytes) -> bytes | None:
        """The number of samples is written in: the encoder would write it at the end."""
        if len(head) < _FLAC_HEAD_BYTES:
            return None
        before, last_64_bits = head[: _FLAC_HEAD_BYTES - 8], head[_FLAC_HEAD_BYTES - 8 : _FLAC_HEAD_BYTES]
        counted = int.from_bytes(last_64_bits, "big") | self._num_samples
        return before + counted.to_bytes(8, "big") + head[_FLAC_HEAD_BYTES:]


def _mp3_head(head: bytes) -> bytes | None:
    """LAME's first frame is left out: a place for the table of seek points, and 36 ms of silence while it is empty."""
    start = 0
    if head.startswith(b"ID3"):
        sizes = head[6:_ID3_HEADER_BYTES]
        start = _ID3_HEADER_BYTES + sum(byte << shift for byte, shift in zip(sizes, (21, 14, 7, 0), strict=True))
    after = head.find(b"\xff", start + _MPEG_HEADER_BYTES)  # the frame is empty, and the next one begins so
    return None if after < 0 else head[:start] + head[after:]


class _Sink:
    """A file to libsndfile, which believes that it can seek; what was written is handed on and forgotten.

    What the encoders correct in it when they close comes too late, and is dropped.
    """

    def __init__(self) -> None:
        self._ready = bytearray()
        self._size = 0
        self._position = 0

    def write(self, data: bytes) -> int:
        num_bytes = len(data)
        if self._position == self._size:
            self._ready += data
            self._size += num_bytes
        self._position += num_bytes
        return num_bytes

    def seek(self, offset: int, whence: int) -> int:
        self._position = (0, self._position, self._size)[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, num_bytes: int) -> bytes:
        raise OSError("what was handed on can't be read again")

    def take(self) -> bytes:
        ready, self._ready = bytes(self._ready), bytearray()
        return ready
