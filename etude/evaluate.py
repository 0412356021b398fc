"""Measures a checkpoint on pieces that were never trained on: whether it plays what it is asked for, and plays at all.

    python -m etude.evaluate CHECKPOINT --held-out FOLDER --references FOLDER --out FOLDER [--clips 200]

Both folders are made by `etude.dataset`: the held-out pieces' descriptions are the prompts, and what is heard in the
references teaches the judges what instruments sound like. OUT gets every figure (`figures.json`, `figures.md`),
spectrograms of pieces, reconstructions and generations side by side, and clips to be listened to. The last line is
JSON (`etude/evaluation/report.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import soundfile
import torch
from transformers.utils import logging as transformers_logging

from deployments.checkpoints.config import CheckpointError
from deployments.messages import Sampling
from etude.codec.plots import plot_reconstructions
from etude.evaluation.players import EnginePlayer, Player, TransformersPlayer
from etude.evaluation.report import Report
from etude.evaluation.study import Question, Study
from etude.evaluation.systems import CODEC, MODEL, REFERENCE

# Clips that are kept, and those that are shown.
_KEPT = 12
_SHOWN = 4

_ASKED = ("held_out", "references", "clips", "judged_by", "duration_s", "seed")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m etude.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="a MusicGen's folder")
    parser.add_argument("--held-out", type=Path, required=True, help="pieces of seeds that were never trained on")
    parser.add_argument("--references", type=Path, required=True, help="other pieces, for the judges to learn from")
    parser.add_argument("--out", type=Path, required=True, help="where figures, plots and clips go")
    parser.add_argument("--clips", type=int, default=200, help="to be played; default 200")
    parser.add_argument("--judged-by", type=int, default=600, help="references that are heard; default 600")
    parser.add_argument("--duration-s", type=float, default=10.0, help="of a clip; default 10")
    parser.add_argument("--guidance-scale", type=float, default=Sampling().guidance_scale, help="default %(default)s")
    parser.add_argument("--temperature", type=float, default=Sampling().temperature, help="default %(default)s")
    parser.add_argument("--top-k", type=int, default=Sampling().top_k, help="default %(default)s")
    parser.add_argument("--player", choices=("engine", "transformers"), default="engine", help="default engine")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default %(default)s")
    parser.add_argument("--nice", type=int, default=0, help="how far others go first, 0 to 19; default 0")
    options = parser.parse_args(arguments)
    os.nice(options.nice)
    torch.set_num_threads(options.threads)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        report = evaluate(options)
    except (ValueError, OSError, CheckpointError) as error:
        parser.error(str(error))
    print(report.table())
    print(json.dumps(report.last_line()))


def evaluate(options: argparse.Namespace) -> Report:
    """Measures, and writes all that is found."""
    study = Study(options.checkpoint, Question(**{name: getattr(options, name) for name in _ASKED}))
    report = study.report(_player(options))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "figures.json").write_text(json.dumps(report.as_dict(), indent=1) + "\n", encoding="utf-8")
    (options.out / "figures.md").write_text(report.table(), encoding="utf-8")
    rows = [
        (name, torch.from_numpy(np.stack([clip.sound for clip in study.systems[name][:_SHOWN]])))
        for name in (REFERENCE, CODEC, MODEL)
    ]
    plot_reconstructions(rows, study.sample_rate, options.out / "mels.png")
    for i, (prompt, clip) in enumerate(zip(study.prompts[:_KEPT], study.systems[MODEL], strict=False)):
        soundfile.write(options.out / f"{i:02d}.wav", np.clip(clip.sound, -1, 1), study.sample_rate)
        (options.out / f"{i:02d}.txt").write_text(f"{prompt.text}\n", encoding="utf-8")
    return report


def _player(options: argparse.Namespace) -> Player:
    sampling = Sampling(options.guidance_scale, options.temperature, options.top_k)
    if options.player == "transformers":
        return TransformersPlayer(options.checkpoint, sampling)
    return EnginePlayer(options.checkpoint, sampling, num_threads=options.threads)


if __name__ == "__main__":
    main(sys.argv[1:])
