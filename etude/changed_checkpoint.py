"""A checkpoint with other weights, beside the one it was."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from transformers import MusicgenForConditionalGeneration

from etude.random_checkpoint import open_to_readers


def write_changed(model: MusicgenForConditionalGeneration, checkpoint: Path, out: Path) -> None:
    """Writes the model, and the checkpoint's other files, to a folder that doesn't exist yet, where it appears all at
    once. Raises OSError.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        unfinished = Path(folder) / "checkpoint"
        shutil.copytree(checkpoint, unfinished)
        model.save_pretrained(unfinished)
        open_to_readers(unfinished)
        unfinished.rename(out)
