"""Encodes a folder of sound with a codec, for the language model to learn from.

    python -m etude.encode_codes DATA --codec CODEC --out CODES

DATA is what `etude.dataset` made, or audio files with descriptions (see `etude/language_model/audio_folder.py`). CODEC
is an EncodecModel's folder, or that of a MusicGen, whose codec it is then. What is there already is not made again, so
the same command goes on after a kill.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch
from transformers import AutoConfig, EncodecModel, MusicgenForConditionalGeneration
from transformers.utils import logging as transformers_logging

from etude.language_model.encoder import CodeEncoder
from etude.language_model.encoding import encode_folder


def load_encoder(folder: Path) -> CodeEncoder:
    """The encoder of a codec, or of a MusicGen's, in float32. Raises OSError or ValueError where it is neither."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.model_type == "encodec":
        return CodeEncoder(EncodecModel.from_pretrained(folder, dtype=torch.float32))
    if config.model_type != "musicgen":
        raise ValueError(f"{folder} has a model of the type {config.model_type!r}, neither 'encodec' nor 'musicgen'")
    model = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    return CodeEncoder(model.audio_encoder, channels=config.decoder.audio_channels)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m etude.encode_codes", description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="rendered pieces, or audio files with descriptions")
    parser.add_argument("--codec", type=Path, required=True, help="an EncodecModel's folder, or a MusicGen's")
    parser.add_argument("--out", type=Path, required=True, help="the folder of codes, new or to be resumed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default %(default)s")
    parser.add_argument("--nice", type=int, default=0, help="how far others go first, 0 to 19; default 0")
    options = parser.parse_args(arguments)
    os.nice(options.nice)
    torch.set_num_threads(options.threads)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        encode_folder(options.data, load_encoder(options.codec), options.out)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
