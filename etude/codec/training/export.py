"""Writes a codec in 16 bits, as a checkpoint holds it.

    python -m etude.codec.training.export RUN/codec FOLDER

Codes of sounds are to be made with what is written: rounding its weights changes a few of them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from transformers.utils import logging as transformers_logging

from etude.codec.weights import load_codec
from etude.random_checkpoint import make_whole


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m etude.codec.training.export", description=__doc__.splitlines()[0])
    parser.add_argument("codec", type=Path, help="an EncodecModel's folder, or a MusicGen's")
    parser.add_argument("folder", type=Path, help="where to write it; must not exist yet")
    options = parser.parse_args(arguments)
    transformers_logging.disable_progress_bar()
    try:
        make_whole(options.folder, load_codec(options.codec).half().save_pretrained)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    size_bytes = sum(path.stat().st_size for path in options.folder.iterdir())
    print(f"{options.folder} has {size_bytes / 1e6:.1f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
