"""Shards: files of many rendered pieces with what is said of them.

Two files to a shard, named after its seeds: a `.npy` of all its sound, one piece after the other, 16 bits, which can be
mapped into memory, and a `.jsonl` with a line for each piece, which says where its sound is. The sound's file appears
last, and whole: where it is, the shard is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etude.score.describe import Description


@dataclass(frozen=True)
class Clip:
    """A rendered piece. pcm: [samples], mono, at 32 kHz. attributes: of its plan."""

    pcm: NDArray[np.int16]
    descriptions: tuple[Description, ...]
    attributes: dict[str, Any]


def shard_path(folder: Path, seeds: range) -> Path:
    """Where the sound of a shard is."""
    return folder / f"{seeds.start:08d}-{seeds[-1]:08d}.npy"


def write_shard(folder: Path, seeds: range, clips: Sequence[Clip]) -> None:
    """Writes the clips of these seeds; a killed run leaves no shard, or a whole one."""
    path = shard_path(folder, seeds)
    lines, start = [], 0
    for clip in clips:
        described = [asdict(description) for description in clip.descriptions]
        row = {"start": start, "num_samples": len(clip.pcm), "descriptions": described, "attributes": clip.attributes}
        lines.append(json.dumps(row) + "\n")
        start += len(clip.pcm)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text("".join(lines), encoding="utf-8")
    unfinished.replace(path.with_suffix(".jsonl"))
    with unfinished.open("wb") as file:
        np.save(file, np.concatenate([clip.pcm for clip in clips]))
    unfinished.replace(path)


def read_clips(folder: Path) -> Iterator[Clip]:
    """Every clip of a folder's shards, in the order of their seeds; the sound is mapped, not read.

    Raises FileNotFoundError where there is no shard.
    """
    paths = sorted(folder.glob("*.npy"))
    if not paths:
        raise FileNotFoundError(f"{folder} has no shards: python -m etude.dataset makes them")
    for path in paths:
        yield from read_shard(path)


def read_shard(path: Path) -> Iterator[Clip]:
    """Every clip of one shard; `path` is where its sound is."""
    sound = np.load(path, mmap_mode="r")
    for line in path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        descriptions = tuple(
            Description(**{**fields, "families": tuple(fields["families"])}) for fields in row["descriptions"]
        )
        pcm = sound[row["start"] : row["start"] + row["num_samples"]]
        yield Clip(pcm, descriptions, row["attributes"])
