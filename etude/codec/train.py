"""Trains the codec, one stage a folder.

    python -m etude.codec.train --data FOLDER --held-out FOLDER --out FOLDER --stage quantiser --minutes 60

The same command goes on with a folder, after a kill too, until its steps are done. `--from` begins a stage with the
codec of another. The processes and devices are those that `accelerate launch` or its configuration gives.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch
from pydantic import ValidationError
from transformers import EncodecModel
from transformers.utils import logging as transformers_logging

from etude.codec.crops import Crops
from etude.codec.geometry import Geometry
from etude.codec.initialise import new_codec
from etude.codec.plots import plot_log
from etude.codec.recipe import STAGES, Recipe
from etude.codec.trainer import CODEC, LOG, Pace, Trainer

# What a new codec's transform is made from: two minutes of many pieces.
_FIRST_CROPS = 240
_FIRST_CROP_S = 0.5

# What is heard of each held-out piece.
_HELD_OUT_S = 4.0


def main(arguments: list[str]) -> None:
    defaults = Recipe.model_fields
    parser = argparse.ArgumentParser(prog="python -m etude.codec.train", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder that etude.dataset made")
    parser.add_argument("--held-out", type=Path, required=True, help="another, of other seeds, for figures")
    parser.add_argument("--out", type=Path, required=True, help="the stage's folder, new or to be resumed")
    parser.add_argument("--stage", choices=STAGES, required=True)
    parser.add_argument(
        "--from", type=Path, dest="start", help="an EncodecModel's folder, such as another stage's codec"
    )
    for name in ("steps", "batch", "warmup_steps", "seed"):
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=int, default=defaults[name].default, help="default %(default)s")
    for name in ("crop_s", "learning_rate", "clip"):
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=float, default=defaults[name].default, help="default %(default)s")
    parser.add_argument("--filters", type=int, default=16, help="of a new codec; default 16")
    parser.add_argument("--ratios", type=int, nargs="+", default=[8, 5, 4, 4], help="of a new codec; default 8 5 4 4")
    parser.add_argument("--minutes", type=float, help="stop after so many, to be resumed")
    parser.add_argument("--save-minutes", type=float, default=5.0, help="between saved states; default 5")
    parser.add_argument(
        "--figures-steps", type=int, default=500, help="between figures on held-out pieces; default 500"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default %(default)s")
    parser.add_argument("--nice", type=int, default=0, help="how far others go first, 0 to 19; default 0")
    options = parser.parse_args(arguments)
    os.nice(options.nice)
    torch.set_num_threads(options.threads)
    transformers_logging.disable_progress_bar()
    try:
        _train(options)
    except (ValidationError, ValueError, OSError) as error:
        parser.error(str(error))


def _train(options: argparse.Namespace) -> None:
    recipe = Recipe(**{name: getattr(options, name) for name in Recipe.model_fields})
    if options.start is not None:
        model = EncodecModel.from_pretrained(options.start)
    else:
        geometry = Geometry(filters=options.filters, ratios=tuple(options.ratios))
        model = new_codec(geometry, _first_sound(options.data, geometry, recipe.seed), seed=recipe.seed)
    rate, hop = model.config.sampling_rate, model.config.hop_length
    num_samples = max(1, round(recipe.crop_s * rate / hop)) * hop
    crops = Crops(options.data, sample_rate=rate, num_samples=num_samples, seed=recipe.seed)
    held_out = Crops(options.held_out, sample_rate=rate, num_samples=round(_HELD_OUT_S * rate / hop) * hop)
    pace = Pace(minutes=options.minutes, save_minutes=options.save_minutes, figures_steps=options.figures_steps)
    trainer = Trainer(options.out, recipe, model, crops, held_out, pace=pace)
    trainer.run()
    plot_log(options.out / LOG, options.out / "log.png")
    print(f"{options.out / CODEC} is the codec after step {trainer.step}")


def _first_sound(data: Path, geometry: Geometry, seed: int) -> torch.Tensor:
    num_samples = round(_FIRST_CROP_S * geometry.sample_rate)
    return Crops(data, sample_rate=geometry.sample_rate, num_samples=num_samples, seed=seed).batch(0, _FIRST_CROPS)


if __name__ == "__main__":
    main(sys.argv[1:])
