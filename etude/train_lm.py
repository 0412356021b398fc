"""Trains a MusicGen's language model on sound with descriptions.

    python -m etude.train_lm --from CHECKPOINT --data FOLDER... --out FOLDER [--held-out FOLDER] [--minutes 60]

CHECKPOINT is any that the service can load: a folder, such as one that `etude.new_checkpoint` made, or a hub id with
`--revision`. Each FOLDER of data is what `etude.encode_codes` or `etude.dataset` made, or audio files with descriptions
(see `etude/language_model/audio_folder.py`); sound is encoded once, into OUT/codes/0 and so on. The same command goes
on after a kill, until its steps are done; OUT/checkpoint is the model so far. The processes and devices are those that
`accelerate launch` or its configuration gives; for several, encode the sound first.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from pydantic import ValidationError
from transformers import AutoTokenizer, MusicgenForConditionalGeneration
from transformers.utils import logging as transformers_logging

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.checkpoints.config import CheckpointError
from deployments.checkpoints.sources import find_checkpoint
from deployments.language_model.config import DecoderConfig
from etude.codec.plots import plot_log
from etude.language_model.batches import Batches
from etude.language_model.code_shards import FORMAT_FILE, CodeClip, read_code_clips, require_format
from etude.language_model.encoder import CodeEncoder
from etude.language_model.encoding import encode_folder
from etude.language_model.origin import Origin
from etude.language_model.recipe import Recipe
from etude.language_model.roll import roll_of
from etude.language_model.trainer import CHECKPOINT, Trainer, accelerator_of
from etude.training.pace import Pace

# Of what is shown of a clip, and how: a recipe's, and held-out clips' are 0.
_CHANCES = ("openings", "forgetting", "text_dropout")

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def main(arguments: list[str]) -> None:
    defaults = Recipe.model_fields
    parser = argparse.ArgumentParser(prog="python -m etude.train_lm", description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="source", required=True, help="a MusicGen's folder, or its id on the hub")
    parser.add_argument("--revision", help="the commit of a hub id")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="codes, rendered pieces or audio files")
    parser.add_argument("--held-out", type=Path, help="others of them, for figures")
    parser.add_argument("--out", type=Path, required=True, help="the training's folder, new or to be resumed")
    for name in ("steps", "batch", "warmup_steps", "seed"):
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=int, default=defaults[name].default, help="default %(default)s")
    for name in (
        "learning_rate",
        "weight_decay",
        "clip",
        "openings",
        "forgetting",
        "score",
        "text_dropout",
        "dropout",
        "average",
    ):
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=float, default=defaults[name].default, help="default %(default)s")
    parser.add_argument("--context-s", type=float, nargs="+", default=[10.0], help="in turns; default 10")
    for name, choices in (("text_encoder", ("trained", "frozen")), ("precision", ("float32", "bfloat16"))):
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, choices=choices, default=defaults[name].default, help="default %(default)s")
    parser.add_argument("--dtype", choices=tuple(_DTYPES), help="of the weights written; default: as in CHECKPOINT")
    parser.add_argument("--minutes", type=float, help="stop after so many, to be resumed")
    parser.add_argument("--save-minutes", type=float, default=5.0, help="between saved states; default 5")
    parser.add_argument("--figures-steps", type=int, default=500, help="between figures on held-out clips; default 500")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default %(default)s")
    parser.add_argument("--nice", type=int, default=0, help="how far others go first, 0 to 19; default 0")
    options = parser.parse_args(arguments)
    os.nice(options.nice)
    torch.set_num_threads(options.threads)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        _train(options)
    except (ValidationError, ValueError, OSError, CheckpointError) as error:
        parser.error(str(error))


def _train(options: argparse.Namespace) -> None:
    told = {name: getattr(options, name) for name in Recipe.model_fields}
    recipe = Recipe(**{**told, "context_s": tuple(options.context_s)})
    accelerator = accelerator_of(recipe)
    folder = find_checkpoint(options.source, options.revision, root=Path.cwd())
    checkpoint = Checkpoint.open(folder)
    stored = checkpoint.config.dtype or torch.float32
    origin = Origin(folder, options.source, _DTYPES[options.dtype] if options.dtype else stored)
    model = origin.load(dropout=recipe.dropout)
    config = DecoderConfig.from_transformers(checkpoint.config)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    num_frames = max(1, round(recipe.context_s[0] * checkpoint.codec_config.frame_rate))

    def batches(folders: list[Path], cache: Path, seed: int, *, score: bool = False, **chances: float) -> Batches:
        clips = [clip for i, data in enumerate(folders) for clip in _clips(data, cache / str(i), model, accelerator)]
        if score:
            clips = [replace(clip, roll=roll_of(clip.attributes, clip.codes.shape[1])) for clip in clips]
            if all(clip.roll is None for clip in clips):
                raise ValueError("--score is for pieces of `etude.dataset --exact`, and there are none in --data")
        return Batches(clips, tokenizer, config, num_frames=num_frames, seed=seed, **chances)

    chances = {name: getattr(recipe, name) for name in _CHANCES}
    learned = batches(options.data, options.out / "codes", recipe.seed, score=recipe.score > 0, **chances)
    held_out = batches([options.held_out], options.out / "held_out_codes", 0) if options.held_out else None
    pace = Pace(minutes=options.minutes, save_minutes=options.save_minutes, figures_steps=options.figures_steps)
    trainer = Trainer(options.out, recipe, model, learned, held_out, origin=origin, accelerator=accelerator, pace=pace)
    step = trainer.run()
    if accelerator.is_main_process:
        plot_log(trainer.folder.log_path, options.out / "log.png")
        print(f"{options.out / CHECKPOINT} is the model after step {step}")


def _clips(
    data: Path, cache: Path, model: MusicgenForConditionalGeneration, accelerator: Accelerator
) -> list[CodeClip]:
    """The clips of a folder of codes, or of sound that is encoded first, if it wasn't before."""
    codec = model.audio_encoder.to(accelerator.device)
    encoder = CodeEncoder(codec, channels=model.config.decoder.audio_channels)
    if (data / FORMAT_FILE).is_file():
        require_format(data, encoder.format)
        return list(read_code_clips(data))
    with accelerator.main_process_first():
        encode_folder(data, encoder, cache)
    return list(read_code_clips(cache))


if __name__ == "__main__":
    main(sys.argv[1:])
