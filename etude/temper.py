"""Writes a temperature into a checkpoint: what it plays at temperature 1 is then what it played at this one.

    python -m etude.temper CHECKPOINT OUT --temperature 0.8

A small model puts too much weight on what is unlikely, and nobody who asks for music should have to know. The logits of
each codebook are a product with its own matrix, which is divided by the temperature: so it is a real checkpoint still,
in whatever plays it, and temperature, top_k and guidance go on from there. OUT is a new folder, and the rest as it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import MusicgenForConditionalGeneration
from transformers.utils import logging as transformers_logging

from etude.changed_checkpoint import write_changed


def temper(checkpoint: Path, out: Path, temperatures: Sequence[float]) -> None:
    """Writes the checkpoint to a folder that doesn't exist yet, where it appears all at once.

    temperatures: one for all codebooks, or one for each. Raises FileExistsError where `out` does; ValueError for
    temperatures that are not above 0, or not so many.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists already")
    if min(temperatures) <= 0:
        raise ValueError(f"temperatures are above 0, not {min(temperatures):g}")
    model = MusicgenForConditionalGeneration.from_pretrained(checkpoint, dtype="auto")
    heads = model.decoder.lm_heads
    if len(temperatures) not in (1, len(heads)):
        raise ValueError(f"there are {len(heads)} codebooks: give one temperature for all, or one for each")
    with torch.no_grad():
        for i, head in enumerate(heads):
            head.weight.copy_(head.weight.float() / temperatures[i % len(temperatures)])
    write_changed(model, checkpoint, out)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m etude.temper", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="a MusicGen's folder")
    parser.add_argument("out", type=Path, help="where to write the checkpoint; must not exist yet")
    parser.add_argument("--temperature", type=float, nargs="+", required=True, help="of all codebooks, or of each")
    options = parser.parse_args(arguments)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        temper(options.checkpoint, options.out, options.temperature)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
