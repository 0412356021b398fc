"""From a source in the settings to a checkpoint's folder on this machine, downloaded from the hub where need be.

And what identifies its weights: the hub's commit, or a hash of the files (`fingerprint_of`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import httpx2
from huggingface_hub import constants, is_offline_mode, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from deployments.checkpoints.config import CONFIG_FILE, CheckpointError, on_one_line
from deployments.checkpoints.tensor_files import (
    PICKLED,
    PICKLED_INDEX,
    SAFETENSORS,
    SAFETENSORS_INDEX,
    weight_paths,
)
from deployments.paths import is_package_source, package_checkpoint

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


_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FOLDER_STARTS = ("/", "./", "../", "~")

_SMALL_FILES = (
    CONFIG_FILE,
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    *TOKENIZER_FILES,
)

# The kinds of weights, the better first; a repository often has both.
_WEIGHT_FILES = (
    (SAFETENSORS, SAFETENSORS_INDEX, "model-*-of-*.safetensors"),
    (PICKLED, PICKLED_INDEX, "pytorch_model-*-of-*.bin"),
)


def find_checkpoint(source: str, revision: str | None, *, root: Path) -> Path:
    """The folder of a checkpoint.

    A snapshot that is whole in the hub's cache (under `HF_HOME`) is used without touching the network; else only the
    files that are needed are downloaded into it.

    Args:
        source: a folder (absolute, from `~`, or from `root`), `package:NAME` (the folder `checkpoint` that an installed
            package brings), or a hub id `owner/name`, which needs a revision: the 40 hexadecimal digits of a commit.
            What begins with `/`, `./`, `../` or `~`, or exists below root, is a folder.

    Raises:
        CheckpointError: Where neither leads to a folder.
    """
    if is_package_source(source):
        if revision is not None:
            raise CheckpointError(f"{source} comes with a package, and has no revision")
        try:
            return package_checkpoint(source)
        except LookupError as error:
            raise CheckpointError(str(error)) from error
    try:
        folder = root / Path(source).expanduser()
    except RuntimeError as error:
        raise CheckpointError(f"{source} is in the home of a user this machine doesn't have") from error
    if source.startswith(_FOLDER_STARTS) or (source and folder.exists()):
        if revision is not None:
            raise CheckpointError(f"{source} is a folder, and a folder has no revision")
        if not folder.is_dir():
            raise CheckpointError(f"there is no folder {folder}")
        return folder.resolve()
    if not _HUB_ID.fullmatch(source):
        raise CheckpointError(
            f"{source!r} is neither a folder in {root} nor the id of a model on the hub, which has the form owner/name"
        )
    if revision is None or not COMMIT.fullmatch(revision):
        raise CheckpointError(
            f"{source} needs a revision that pins it: the 40 hexadecimal digits of a commit, not {revision!r}"
        )
    return _cached(source, revision) or _downloaded(source, revision)


def _cached(repo: str, revision: str) -> Path | None:
    for weight_files in _WEIGHT_FILES:
        try:
            folder = _snapshot(repo, revision, weight_files, local_files_only=True)
        except LocalEntryNotFoundError:
            continue
        if _is_whole(folder):
            return folder
    return None


def _is_whole(folder: Path) -> bool:
    """The hub's client tells what a snapshot lacks only where it listed the repository itself; older ones didn't."""
    weights = weight_paths(folder)
    has_tokenizer = any((folder / name).is_file() for name in ("tokenizer.json", "spiece.model"))
    has_config = (folder / CONFIG_FILE).is_file()
    return has_config and has_tokenizer and bool(weights) and all(path.is_file() for path in weights)


def _downloaded(repo: str, revision: str) -> Path:
    model = f"{repo} at revision {revision}"
    try:
        for weight_files in _WEIGHT_FILES:
            folder = _snapshot(repo, revision, weight_files, local_files_only=False)
            if weight_paths(folder):
                return folder
    except GatedRepoError as error:
        raise CheckpointError(f"{model} is gated: accept its terms on {constants.ENDPOINT} and set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{repo} has no revision {revision} on {constants.ENDPOINT}") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"there is no {repo} on {constants.ENDPOINT}, or it is private and HF_TOKEN doesn't open it"
        ) from error
    except LocalEntryNotFoundError as error:
        why = "HF_HUB_OFFLINE forbids a download" if is_offline_mode() else f"{constants.ENDPOINT} can't be reached"
        raise CheckpointError(f"{model} is not in the cache {constants.HF_HUB_CACHE}, and {why}") from error
    except (httpx2.HTTPError, OSError, RuntimeError) as error:
        # The hub's large files come through a library of Rust, which raises RuntimeError when the network fails it.
        raise CheckpointError(f"{model} can't be downloaded: {on_one_line(error)}") from error
    raise CheckpointError(f"{model} has no weights: neither {SAFETENSORS} nor {PICKLED}, nor an index of shards")


def _snapshot(repo: str, revision: str, weight_files: tuple[str, ...], *, local_files_only: bool) -> Path:
    patterns = [*_SMALL_FILES, *weight_files]
    return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns, local_files_only=local_files_only))
