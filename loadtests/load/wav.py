"""The head of a WAV file, read without decoding anything: a load test has no time for that."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from loadtests.load.errors import WrongAnswer

_RIFF_BYTES = 12
_CHUNK_HEAD_BYTES = 8
_PCM = 1
# Longer ones are none of the service's: its tags have some hundred bytes.
_MAX_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True)
class WavHead:
    """What comes before the samples. data_offset: of the first sample. data_bytes, size_bytes: as the head claims them
    of the samples and of the whole file.
    """

    sample_rate: int
    channels: int
    data_offset: int
    data_bytes: int
    size_bytes: int

    @property
    def bytes_per_s(self) -> int:
        return 2 * self.channels * self.sample_rate

    @property
    def num_samples(self) -> int:
        """In each channel."""
        return self.data_bytes // (2 * self.channels)


def wav_head(beginning: bytes | bytearray) -> WavHead | None:
    """Of a file of 16-bit PCM that begins like this; None where the samples are not reached. Raises: WrongAnswer."""
    if len(beginning) < _RIFF_BYTES:
        return None
    if beginning[:4] != b"RIFF" or beginning[8:12] != b"WAVE":
        raise WrongAnswer("the answer is no WAV file")
    (riff_bytes,) = struct.unpack_from("<I", beginning, 4)
    form: tuple[int, ...] | None = None
    at = _RIFF_BYTES
    while at + _CHUNK_HEAD_BYTES <= min(len(beginning), _MAX_HEAD_BYTES):
        name, size_bytes = struct.unpack_from("<4sI", beginning, at)
        at += _CHUNK_HEAD_BYTES
        if name == b"data":
            if form is None or (form[0], form[5]) != (_PCM, 16):
                raise WrongAnswer("the WAV file does not say that it has samples of 16 bits")
            return WavHead(form[2], form[1], at, size_bytes, riff_bytes + _CHUNK_HEAD_BYTES)
        if name == b"fmt ":
            if len(beginning) < at + 16:
                return None
            form = struct.unpack_from("<HHIIHH", beginning, at)
        at += size_bytes + size_bytes % 2
    if at >= _MAX_HEAD_BYTES:
        raise WrongAnswer("the WAV file has no samples in its first 64 kB")
    return None
