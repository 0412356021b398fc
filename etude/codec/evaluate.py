"""Measures a codec on held-out pieces, beside the random one that `etude.random_checkpoint` makes.

    python -m etude.codec.evaluate CODEC --data FOLDER [--pieces 64] [--plot FILE.png] [--musicnn WEIGHTS.safetensors]

CODEC is an EncodecModel's folder, such as a training's `codec`, or a MusicGen's. The last line is JSON: the codec's
figures (`etude/codec/metrics.py`), the random codec's, the ratio of their mel distances, and what the codec adds to
pieces beside what they have of it themselves (`etude/codec/measures`), and with musicnn's weights
(`etude/judges/musicnn.py`) how far off they are for a judge that nobody here trained.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from transformers import EncodecModel, MusicgenForConditionalGeneration
from transformers.utils import logging as transformers_logging

from etude.codec.crops import Crops
from etude.codec.measures.faults import Faults, line_in_silence_dbfs, pieces_restored
from etude.codec.measures.hearing import hear
from etude.codec.metrics import measure, reconstruct
from etude.codec.plots import plot_reconstructions
from etude.codec.weights import load_codec
from etude.judges.musicnn import TagJudge
from etude.random_checkpoint import Shape, make_checkpoint

# Pieces that are shown, and how much of each.
_SHOWN = 4
_SHOWN_S = 6.0


def random_codec(like: EncodecModel) -> EncodecModel:
    """The codec of a random checkpoint, of the same shape: what training starts to be measured from."""
    config = like.config
    shape = Shape(
        layers=1,
        codebooks=config.num_quantizers,
        vocab=config.codebook_size,
        filters=config.num_filters,
        ratios=tuple(config.upsampling_ratios),
        codec_width=config.hidden_size,
        dtype=torch.float32,
    )
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = make_checkpoint(Path(folder) / "random", shape=shape)
        model: EncodecModel = MusicgenForConditionalGeneration.from_pretrained(checkpoint).audio_encoder
    return model


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m etude.codec.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("codec", type=Path, help="an EncodecModel's folder, or a MusicGen's")
    parser.add_argument("--data", type=Path, required=True, help="a folder that etude.dataset made, of held-out seeds")
    parser.add_argument("--pieces", type=int, default=64, help="default 64")
    parser.add_argument("--piece-s", type=float, default=10.0, help="what is heard of each; default 10")
    parser.add_argument("--plot", type=Path, help="where to put mel spectrograms: sound above what comes back of it")
    parser.add_argument("--musicnn", type=Path, help="the weights that etude.judges.musicnn wrote")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default %(default)s")
    parser.add_argument("--nice", type=int, default=0, help="how far others go first, 0 to 19; default 0")
    options = parser.parse_args(arguments)
    os.nice(options.nice)
    torch.set_num_threads(options.threads)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        codec = load_codec(options.codec).eval()
        rate = codec.config.sampling_rate
        crops = Crops(options.data, sample_rate=rate, num_samples=round(options.piece_s * rate))
        judge = TagJudge(options.musicnn) if options.musicnn is not None else None
    except (OSError, ValueError) as error:
        parser.error(str(error))
    untrained = random_codec(codec).eval()
    if options.plot is not None:
        sound = crops.beginnings(0, _SHOWN)[:, : round(_SHOWN_S * rate)]
        rows = [("sound", sound)]
        rows += [
            (name, reconstruct(model, sound)[0]) for name, model in (("codec", codec), ("random codec", untrained))
        ]
        plot_reconstructions(rows, rate, options.plot)
    found = measure(codec, crops, pieces=options.pieces)
    beside = measure(untrained, crops, pieces=options.pieces)
    sounds, restored = pieces_restored(codec, crops, pieces=options.pieces)
    added, there = Faults.of_sounds(restored, rate), Faults.of_sounds(sounds, rate)
    figures = {
        "codec": found.as_dict(),
        "random_codec": beside.as_dict(),
        "codec_mel_ratio": found.mel_distance / beside.mel_distance,
        "faults": {**added.as_dict(), "line_in_silence_dbfs": line_in_silence_dbfs(codec, crops)},
        "faults_of_pieces": there.as_dict(),
    }
    if judge is not None:
        figures["musicnn"] = hear(judge, sounds, restored, rate).as_dict()
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
