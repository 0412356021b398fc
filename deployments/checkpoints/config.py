"""A checkpoint's `config.json`, read and checked to be a MusicGen's; and the one error of this package."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from transformers import MusicgenConfig


class CheckpointError(Exception):
    """A checkpoint can't be found, read or used; the message is one sentence for the operator."""


def first_few(names: Sequence[str]) -> str:
    """Up to five of the names and how many more there are, for a message."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def on_one_line(error: Exception) -> str:
    """What another library's error says, for the end of a sentence."""
    return " ".join(str(error).split()) or type(error).__name__


CONFIG_FILE = "config.json"

# The parts of a MusicGen, by their keys in config.json, and the one kind of each that is run here.
_PART_TYPES = {"text_encoder": "t5", "audio_encoder": "encodec", "decoder": "musicgen_decoder"}


def read_config(folder: Path) -> MusicgenConfig:
    """transformers' configuration of the MusicGen in a folder, as any version since 4.31 has written it.

    Raises:
        CheckpointError: Where there is none, it can't be read, or the model is of another kind.
    """
    path = folder / CONFIG_FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} has no {CONFIG_FILE}: it is not a checkpoint in transformers' format"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} can't be read: {on_one_line(error)}") from error
    _require_type(fields, "musicgen", f"the model in {folder}")
    # Where a part is left out transformers puts its own defaults, which are another model's.
    for part, model_type in _PART_TYPES.items():
        _require_type(fields.get(part), model_type, f"the {part} of the model in {folder}")
    try:
        return MusicgenConfig.from_dict(fields)
    except (StrictDataclassError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a MusicGen's: {on_one_line(error)}") from error


def _require_type(fields: object, model_type: str, subject: str) -> None:
    found = fields.get("model_type") if isinstance(fields, dict) else None
    if found != model_type:
        raise CheckpointError(f"{subject} must be of the type {model_type!r}, and its {CONFIG_FILE} says {found!r}")
