"""A folder of audio files with descriptions, as people have them.

Either beside each file a text of the same name (`rain.wav`, `rain.txt`; each line that is not empty is a description),
or one list of all: `metadata.jsonl` or `metadata.csv`, with the columns `file_name` and `text`, as Hugging Face's
audio folders have it. A file that is listed several times has several descriptions. Formats are those of libsndfile:
WAV, FLAC, Ogg, MP3 and others.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from etude.language_model.resampling import resample

LISTS = ("metadata.jsonl", "metadata.csv")
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif")


@dataclass(frozen=True)
class AudioFile:
    """texts: its descriptions, at least one."""

    path: Path
    texts: tuple[str, ...]


def find_files(folder: Path) -> list[AudioFile]:
    """All that the folder describes, in order of name, those in folders below it too.

    Raises FileNotFoundError for a folder without audio, or a list of files that are not there; ValueError for a list
    that can't be read, and for files without a description, which it names.
    """
    lists = [folder / name for name in LISTS if (folder / name).is_file()]
    if lists:
        files = _listed(lists[0])
    else:
        files = [
            AudioFile(path, _texts_beside(path))
            for path in sorted(folder.rglob("*"))
            if path.suffix.lower() in SUFFIXES
        ]
    if not files:
        raise FileNotFoundError(
            f"{folder} has neither shards of etude.dataset nor audio files ({', '.join(SUFFIXES)}) with descriptions"
        )
    missing = [file.path.name for file in files if not file.path.is_file()]
    if missing:
        raise FileNotFoundError(f"{lists[0]} lists {missing[0]} and {len(missing) - 1} others that are not in {folder}")
    mute = [file.path.name for file in files if not file.texts]
    if mute:
        raise ValueError(
            f"{mute[0]} and {len(mute) - 1} others in {folder} have no description: put a .txt of the same name beside"
            f" each, or list all in {LISTS[0]}"
        )
    return files


def read_sound(path: Path, *, sample_rate: int, channels: int) -> NDArray[np.float32]:
    """A file's sound at another rate: [channels, samples], or [1, samples] where it is mono or all are alike.

    More channels than wanted become their mean. Raises ValueError for a file that isn't sound.
    """
    try:
        sound, found_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} can't be read as sound: {error}") from error
    wanted: NDArray[np.float32] = sound.T
    if len(wanted) != channels:
        wanted = wanted.mean(axis=0, keepdims=True)
    return resample(wanted, found_rate, sample_rate)


def _texts_beside(path: Path) -> tuple[str, ...]:
    beside = path.with_suffix(".txt")
    if not beside.is_file():
        return ()
    lines = beside.read_text(encoding="utf-8").splitlines()
    return tuple(" ".join(line.split()) for line in lines if line.strip())


def _listed(path: Path) -> list[AudioFile]:
    texts: dict[Path, list[str]] = {}
    for row in _rows(path):
        texts.setdefault(path.parent / row["file_name"], []).append(" ".join(row["text"].split()))
    return [AudioFile(file, tuple(text for text in said if text)) for file, said in sorted(texts.items())]


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        try:
            rows = (
                list(csv.DictReader(file))
                if path.suffix == ".csv"
                else [json.loads(line) for line in file if line.strip()]
            )
        except ValueError as error:
            raise ValueError(f"{path} can't be read: {error}") from error
    for number, row in enumerate(rows, 1):
        if not (isinstance(row, dict) and all(isinstance(row.get(column), str) for column in ("file_name", "text"))):
            raise ValueError(f"row {number} of {path} must have a file_name and a text")
        yield row
