"""Trains a codec as a whole: encoder, codebooks and decoder.

    python -m etude.codec.training --data FOLDER --held-out FOLDER --out RUN [--from CODEC | --filters 16] --minutes 60

The same command goes on with a run, after a kill too, until its steps are done. `--from` names an EncodecModel's
folder, such as another run's `codec`, or a MusicGen's, whose codec is taken; without it weights are random. RUN gets
`codec`, the averaged weights, and `log.jsonl`.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from pydantic import ValidationError
from transformers import EncodecModel
from transformers.utils import logging as transformers_logging

from etude.codec.crops import Crops
from etude.codec.geometry import Geometry
from etude.codec.training.recipe import Recipe
from etude.codec.training.work import CODEC, CodecWork
from etude.codec.weights import load_codec
from etude.training.loop import run
from etude.training.pace import Pace
from etude.training.run_folder import RunFolder

# What is heard of each held-out piece.
_HELD_OUT_S = 4.0


def new_random_codec(geometry: Geometry, seed: int) -> EncodecModel:
    """Random weights, and empty codebooks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EncodecModel(geometry.config())


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m etude.codec.training", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder that etude.dataset made")
    parser.add_argument("--held-out", type=Path, required=True, help="another, of other seeds, for figures")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder, new or to be resumed")
    parser.add_argument("--from", type=Path, dest="start", help="an EncodecModel's or a MusicGen's folder")
    parser.add_argument("--filters", type=int, default=16, help="of a new codec; default 16")
    for name, field in Recipe.model_fields.items():
        flag, kind = f"--{name.replace('_', '-')}", type(field.default)
        parser.add_argument(flag, type=kind, default=field.default, help="default %(default)s")
    parser.add_argument("--minutes", type=float, help="stop after so many, to be resumed")
    parser.add_argument("--save-minutes", type=float, default=5.0, help="between saved states; default 5")
    parser.add_argument("--figures-steps", type=int, default=500, help="between figures; default 500")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default %(default)s")
    parser.add_argument("--nice", type=int, default=0, help="how far others go first, 0 to 19; default 0")
    options = parser.parse_args(arguments)
    os.nice(options.nice)
    torch.set_num_threads(options.threads)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        _train(options)
    except (ValidationError, ValueError, OSError) as error:
        parser.error(str(error))


def _train(options: argparse.Namespace) -> None:
    recipe = Recipe(**{name: getattr(options, name) for name in Recipe.model_fields})
    if options.start is not None:
        model = load_codec(options.start)
    else:
        model = new_random_codec(Geometry(filters=options.filters), recipe.seed)
    rate, hop = model.config.sampling_rate, model.config.hop_length
    num_samples = max(1, round(recipe.crop_s * rate / hop)) * hop
    crops = Crops(options.data, sample_rate=rate, num_samples=num_samples, seed=recipe.seed)
    held_out = Crops(options.held_out, sample_rate=rate, num_samples=round(_HELD_OUT_S * rate / hop) * hop)
    folder = RunFolder(options.out, recipe)
    accelerator = Accelerator()
    work = CodecWork(folder, recipe, model, crops, held_out, accelerator)
    pace = Pace(minutes=options.minutes, save_minutes=options.save_minutes, figures_steps=options.figures_steps)
    step = run(work, folder, accelerator, steps=recipe.steps, pace=pace, name="codec")
    print(f"{options.out / CODEC} is the codec after step {step}")


if __name__ == "__main__":
    main(sys.argv[1:])
