"""Sound with descriptions, wherever it comes from: a folder that `etude.dataset` rendered, or one of audio files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etude.language_model.audio_folder import AudioFile, find_files, read_sound
from etude.language_model.resampling import resample
from etude.shards import read_shard
from etude.sound.render import SAMPLE_RATE

# Of audio files, so many make a portion, and what a long one is cut into; a rest that is shorter is left out.
_FILES_PER_PORTION = 16
_LONGEST_S, _SHORTEST_S = 30, 1


@dataclass(frozen=True)
class SoundPiece:
    """sound: float32 [1 or channels, samples] at the rate it was asked for."""

    sound: NDArray[np.float32]
    texts: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Portion:
    """So much of a folder as is encoded at a time. name: the same for the same content."""

    name: str
    read: Callable[[], Sequence[SoundPiece]]


def portions(folder: Path, *, sample_rate: int, channels: int) -> list[Portion]:
    """All of a folder, in order. sample_rate, channels: of the sound that is read.

    Raises FileNotFoundError for a folder with neither shards nor audio files; ValueError for files without
    descriptions, here, or that can't be read, when they are.
    """
    shards = sorted(folder.glob("*.npy"))
    if shards:
        return [Portion(path.stem, partial(_read_shard, path, sample_rate)) for path in shards]
    files = find_files(folder)
    groups = [files[i : i + _FILES_PER_PORTION] for i in range(0, len(files), _FILES_PER_PORTION)]
    return [Portion(_name(group), partial(_read_files, group, sample_rate, channels)) for group in groups]


def _read_shard(path: Path, sample_rate: int) -> list[SoundPiece]:
    return [
        SoundPiece(
            resample(clip.pcm[None].astype(np.float32) / np.float32(32768), SAMPLE_RATE, sample_rate),
            tuple(description.text for description in clip.descriptions),
            clip.attributes,
        )
        for clip in read_shard(path)
    ]


def _read_files(files: Sequence[AudioFile], sample_rate: int, channels: int) -> list[SoundPiece]:
    pieces = []
    for file in files:
        sound = read_sound(file.path, sample_rate=sample_rate, channels=channels)
        for start in range(0, sound.shape[1], _LONGEST_S * sample_rate):
            part = sound[:, start : start + _LONGEST_S * sample_rate]
            if start == 0 or part.shape[1] >= _SHORTEST_S * sample_rate:
                pieces.append(SoundPiece(part, file.texts, {"file": file.path.name, "start_s": start / sample_rate}))
    return pieces


def _name(files: Sequence[AudioFile]) -> str:
    """Another one when any of the files or descriptions changes."""
    digest = hashlib.sha256()
    for file in files:
        stat = file.path.stat()
        digest.update(f"{file.path.name} {stat.st_size} {stat.st_mtime_ns} {file.texts}\n".encode())
    return f"{files[0].path.stem[:40]}-{digest.hexdigest()[:16]}"
