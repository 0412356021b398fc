"""What identifies a checkpoint's weights: the hub's commit, or a hash of the files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from deployments.checkpoints.config import CONFIG_FILE

COMMIT = re.compile(r"[0-9a-f]{40}")

# The files of transformers' tokenizers; with others, the same weights make other music of a prompt.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "spiece.model",
)

_CHUNK_BYTES = 1 << 20


def fingerprint_of(folder: Path, weight_files: Sequence[Path]) -> str:
    """40 hexadecimal digits for a snapshot in the hub's cache, which are its commit; 64 for any other folder.

    The 64 are a SHA-256 over a line for each file of the configuration, the tokenizer and the weights, in order of
    name: its own SHA-256, its size and its name. Where the folder lies doesn't matter; how weights are split does.
    """
    commit = _hub_commit(folder)
    if commit is not None:
        return commit
    others = (folder / name for name in (CONFIG_FILE, *TOKENIZER_FILES))
    paths = {path.name: path for path in (*weight_files, *others) if path.is_file()}
    digest = hashlib.sha256()
    for name in sorted(paths):
        digest.update(f"{_sha256(paths[name])} {paths[name].stat().st_size} {name}\n".encode())
    return digest.hexdigest()


def _hub_commit(folder: Path) -> str | None:
    """The commit of a folder laid out as the hub's cache is: `models--OWNER--NAME/snapshots/COMMIT`."""
    place = folder.absolute()
    in_cache = place.parent.name == "snapshots" and place.parent.parent.name.startswith("models--")
    return place.name if in_cache and COMMIT.fullmatch(place.name) else None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
