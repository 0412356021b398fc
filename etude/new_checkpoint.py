"""Makes a MusicGen that is to be trained: a codec that is trained already, a text encoder and a decoder that are not.

    python -m etude.new_checkpoint OUT --codec CODEC [--layers 6 --width 256 ...]

`etude.train_lm --from OUT` goes on from there.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import torch
from transformers import EncodecModel
from transformers.utils import logging as transformers_logging

from etude.language_model.new import new_musicgen
from etude.random_checkpoint import Shape, make_whole, write_checkpoint

MODEL_CARD = """\
---
license: cc0-1.0
library_name: transformers
pipeline_tag: text-to-audio
tags: [musicgen]
---
# A MusicGen to be trained

Its codec is trained; its language model and its text encoder are not: whatever the prompt, it plays codes at random.
It was made by `python -m etude.new_checkpoint` of musicgen-serve.
"""

_SIZES = ("layers", "width", "heads", "ffn", "text_layers", "text_width", "text_heads", "text_head_width", "text_ffn")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m etude.new_checkpoint", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="where to write it; must not exist yet")
    parser.add_argument("--codec", type=Path, required=True, help="an EncodecModel's folder")
    for name in _SIZES:
        flag, default = f"--{name.replace('_', '-')}", getattr(Shape(), name)
        parser.add_argument(flag, type=int, default=default, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the weights; default 0")
    options = parser.parse_args(arguments)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    shape = dataclasses.replace(Shape(), **{name: getattr(options, name) for name in _SIZES})
    try:
        codec = EncodecModel.from_pretrained(options.codec, dtype=torch.float32)
        model = new_musicgen(codec, shape, options.seed)
        make_whole(options.out, lambda folder: write_checkpoint(folder, model, MODEL_CARD))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    learned = [parameter for name, parameter in model.named_parameters() if not name.startswith("audio_encoder.")]
    print(f"{options.out}: {sum(map(torch.numel, learned)) / 1e6:.1f} million parameters to be trained")


if __name__ == "__main__":
    main(sys.argv[1:])
