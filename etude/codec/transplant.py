"""Puts a trained codec into a checkpoint, in place of the one it has.

    python -m etude.codec.transplant CHECKPOINT CODEC OUT

OUT is a new folder: the checkpoint's files and its other weights as they are, the codec's in the checkpoint's type.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from transformers import EncodecConfig, EncodecModel, MusicgenForConditionalGeneration
from transformers.utils import logging as transformers_logging

from etude.changed_checkpoint import write_changed

# What a language model's codes mean depends on these.
_MUST_AGREE = ("sampling_rate", "upsampling_ratios", "codebook_size", "num_quantizers")


def transplant(checkpoint: Path, codec: Path, out: Path) -> None:
    """Writes the checkpoint with the codec to a folder that doesn't exist yet, where it appears all at once.

    Raises FileExistsError where it does; ValueError for a codec of other codes than the checkpoint's.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists already")
    model = MusicgenForConditionalGeneration.from_pretrained(checkpoint, dtype="auto")
    donated = EncodecModel.from_pretrained(codec, dtype=model.dtype)
    _check(model.config.audio_encoder, donated.config)
    donated.config._name_or_path = ""  # where it lay is nobody's business
    model.audio_encoder = donated
    model.config.audio_encoder = donated.config
    write_changed(model, checkpoint, out)


def _check(old: EncodecConfig, new: EncodecConfig) -> None:
    for field in _MUST_AGREE:
        if getattr(old, field) != getattr(new, field):
            raise ValueError(
                f"the codec has {field}={getattr(new, field)!r}; the checkpoint is for {getattr(old, field)!r}"
            )


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m etude.codec.transplant", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="a MusicGen's folder")
    parser.add_argument("codec", type=Path, help="an EncodecModel's folder, such as a training's codec")
    parser.add_argument("out", type=Path, help="where to write the checkpoint; must not exist yet")
    options = parser.parse_args(arguments)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        transplant(options.checkpoint, options.codec, options.out)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
