"""Shards of codes: files of many pieces as a codec's codes, with what is said of them.

Two files to a shard, as in `etude.shards`: a `.npy` of all its codes, int16 [K, frames], one piece after the other,
and a `.jsonl` with a line for each piece, which says where its codes are. `codes.json` says whose codes they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etude.language_model.encoder import CodeFormat

FORMAT_FILE = "codes.json"


@dataclass(frozen=True)
class CodeClip:
    """codes: int16 [K, T]. texts: descriptions, at least one. attributes: whatever else is known of the piece.
    roll: float16 [rows, T], what its score says of every frame (`roll.py`), where that is to be told.
    """

    codes: NDArray[np.int16]
    texts: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    roll: NDArray[np.float16] | None = None


def code_shard_path(folder: Path, name: str) -> Path:
    """Where the codes of a shard are."""
    return folder / f"{name}.npy"


def write_code_shard(folder: Path, name: str, clips: Sequence[CodeClip]) -> None:
    """Writes a shard of at least one clip; a killed run leaves no shard, or a whole one."""
    path = code_shard_path(folder, name)
    lines, start = [], 0
    for clip in clips:
        num_frames = clip.codes.shape[1]
        row = {"start": start, "num_frames": num_frames, "texts": clip.texts, "attributes": clip.attributes}
        lines.append(json.dumps(row) + "\n")
        start += num_frames
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text("".join(lines), encoding="utf-8")
    unfinished.replace(path.with_suffix(".jsonl"))
    with unfinished.open("wb") as file:
        np.save(file, np.concatenate([clip.codes for clip in clips], axis=1))
    unfinished.replace(path)


def read_code_clips(folder: Path) -> Iterator[CodeClip]:
    """Every clip of a folder's shards, in the order of their names; the codes are mapped, not read.

    Raises FileNotFoundError where there is no shard.
    """
    paths = sorted(folder.glob("*.npy"))
    if not paths:
        raise FileNotFoundError(f"{folder} has no codes: python -m etude.encode_codes makes them")
    for path in paths:
        codes = np.load(path, mmap_mode="r")
        for line in path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            place = slice(row["start"], row["start"] + row["num_frames"])
            yield CodeClip(codes[:, place], tuple(row["texts"]), row["attributes"])


def settle_format(folder: Path, wanted: CodeFormat) -> None:
    """Writes the format into a new folder, and compares it with that of an old one.

    Raises ValueError for a folder of another codec's codes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FORMAT_FILE
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(wanted.to_json() + "\n", encoding="utf-8")
        unfinished.replace(path)
    require_format(folder, wanted)


def require_format(folder: Path, wanted: CodeFormat) -> None:
    """Raises ValueError unless the folder's codes are of this format; FileNotFoundError where it doesn't say."""
    path = folder / FORMAT_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {FORMAT_FILE}: python -m etude.encode_codes makes such folders")
    there = CodeFormat.from_json(path.read_text(encoding="utf-8"))
    difference = there.difference(wanted)
    if difference:
        raise ValueError(f"the codes in {folder} are another codec's: {difference}. Encode the sound with this one")
