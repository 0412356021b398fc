"""Whether a codec is good enough for a language model to learn its codes: each figure beside what it must be.

    python -m etude.evaluation.codec_gate CODEC --held-out FOLDER --references FOLDER --musicnn WEIGHTS.safetensors

Both folders are made by `etude.dataset`: what is heard in the references teaches a judge what soloists sound like; it
never hears the codec until it is asked. WEIGHTS is what `etude.judges.musicnn` wrote. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import EncodecModel
from transformers.utils import logging as transformers_logging

from etude.codec.crops import Crops
from etude.codec.evaluate import random_codec
from etude.codec.measures.faults import Faults, line_in_silence_dbfs, pieces_restored
from etude.codec.measures.hearing import hear
from etude.codec.metrics import measure
from etude.codec.weights import load_codec
from etude.evaluation.classifier import Classifier
from etude.evaluation.pitch import chroma, share_in_key
from etude.evaluation.prompts import is_solo
from etude.evaluation.timbre import log_mel, timbre
from etude.judges.musicnn import TagJudge
from etude.shards import Clip, read_clips


@dataclass(frozen=True)
class Limit:
    """value: what a figure must not exceed, or must reach where it is `least`."""

    value: float
    least: bool = False

    def holds(self, figure: float | None) -> bool:
        """A figure that could not be measured passes nothing."""
        if figure is None:
            return False
        return figure >= self.value if self.least else figure <= self.value


LIMITS = {
    "spectral_convergence": Limit(0.25),
    "mel_ratio": Limit(0.12),
    "comb_share": Limit(0.2),
    "line_in_silence_dbfs": Limit(-70.0),
    "dc": Limit(0.005),
    "loudness_spread_lu": Limit(4.0),
    "in_key": Limit(0.94, least=True),
    "named_of_named": Limit(0.75, least=True),
    "musicnn_distance": Limit(12.0),
}
"""mel_ratio: the log-mel distance in those of a random codec. in_key: the share of pitched energy in a piece's own key.
named_of_named: of the soloists that the judge names rightly, how many it names so after the codec. The others are of
`etude/codec/metrics.py` and `etude/codec/measures`."""


def gate_figures(
    codec: EncodecModel, crops: Crops, clips: Sequence[Clip], references: Sequence[Clip], judge: TagJudge
) -> dict[str, float | None]:
    """A figure for each of LIMITS, and some that stand beside them.

    clips: the pieces that crops are of, as many as are to be heard, in their order. references: other pieces.
    """
    rate, pieces = codec.config.sampling_rate, len(clips)
    found, beside = measure(codec, crops, pieces=pieces), measure(random_codec(codec).eval(), crops, pieces=pieces)
    sounds, restored = pieces_restored(codec, crops, pieces=pieces)
    faults = Faults.of_sounds(restored, rate)
    hearing = hear(judge, sounds, restored, rate)
    return {
        "spectral_convergence": found.spectral_convergence,
        "mel_ratio": found.mel_distance / beside.mel_distance,
        "comb_share": faults.comb_share,
        "line_in_silence_dbfs": line_in_silence_dbfs(codec, crops),
        "dc": faults.dc,
        "loudness_spread_lu": faults.loudness_spread_lu,
        "in_key": in_key(clips, restored, rate),
        "in_key_of_pieces": in_key(clips, sounds, rate),
        **named(clips, sounds, restored, references, rate),
        "musicnn_distance": hearing.distance,
        "musicnn_between_pieces": hearing.between_pieces,
    }


def in_key(clips: Sequence[Clip], sounds: Sequence[Tensor], sample_rate: int) -> float | None:
    """The mean share of pitched energy in the key of each piece that has one. sounds: of the clips, in their order."""
    shares = [
        share_in_key(chroma(sound.numpy(), sample_rate), clip.attributes["key_pitch_classes"])
        for clip, sound in zip(clips, sounds, strict=True)
        if clip.attributes["is_pitched"]
    ]
    return float(np.mean(shares)) if shares else None


def named(
    clips: Sequence[Clip],
    sounds: Sequence[Tensor],
    restored: Sequence[Tensor],
    references: Sequence[Clip],
    sample_rate: int,
) -> dict[str, float | None]:
    """How many soloists the judge names rightly of the pieces, and of those after the codec.

    Raises ValueError where the references have no two kinds of soloists.
    """
    solo = [clip for clip in references if is_solo(clip)]
    features = [_timbre(torch.from_numpy(clip.pcm.astype(np.float32) / 32768), sample_rate) for clip in solo]
    judge = Classifier(np.array(features).reshape(len(solo), -1), [clip.attributes["families"][0] for clip in solo])
    asked = [place for place, clip in enumerate(clips) if is_solo(clip)]
    if not asked:
        return {"named_of_pieces": None, "named_of_named": None}
    families = [clips[place].attributes["families"][0] for place in asked]
    before, after = (
        judge.name(np.array([_timbre(of[place], sample_rate) for place in asked])) for of in (sounds, restored)
    )
    right = [family == name for family, name in zip(families, before, strict=True)]
    still = [was and family == name for was, family, name in zip(right, families, after, strict=True)]
    return {"named_of_pieces": float(np.mean(right)), "named_of_named": sum(still) / sum(right) if any(right) else None}


def _timbre(sound: Tensor, sample_rate: int) -> np.ndarray:
    mel, _ = log_mel(sound.numpy(), sample_rate)
    return timbre(mel)


def table(figures: dict[str, float | None]) -> str:
    """Markdown: every figure, and what it must be."""
    lines = ["| | found | must be | holds |", "|---|---|---|---|"]
    for name, figure in figures.items():
        shown = "none" if figure is None else f"{figure:.3f}"
        limit = LIMITS.get(name)
        wanted, holds = "", ""
        if limit is not None:
            wanted = f"{'≥' if limit.least else '≤'} {limit.value:g}"
            holds = "yes" if limit.holds(figure) else "no"
        lines.append(f"| {name} | {shown} | {wanted} | {holds} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m etude.evaluation.codec_gate", description=__doc__.splitlines()[0])
    parser.add_argument("codec", type=Path, help="an EncodecModel's folder, or a MusicGen's, at 32 kHz")
    parser.add_argument("--held-out", type=Path, required=True, help="pieces of seeds that were never trained on")
    parser.add_argument("--references", type=Path, required=True, help="other pieces, for a judge to learn from")
    parser.add_argument("--musicnn", type=Path, required=True, help="the weights that etude.judges.musicnn wrote")
    parser.add_argument("--pieces", type=int, default=128, help="to be heard; default 128")
    parser.add_argument("--judged-by", type=int, default=600, help="references that are heard; default 600")
    parser.add_argument("--piece-s", type=float, default=10.0, help="what is heard of each; default 10")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default %(default)s")
    parser.add_argument("--nice", type=int, default=0, help="how far others go first, 0 to 19; default 0")
    options = parser.parse_args(arguments)
    os.nice(options.nice)
    torch.set_num_threads(options.threads)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        codec = load_codec(options.codec).eval()
        num_samples = round(options.piece_s * codec.config.sampling_rate)
        crops = Crops(options.held_out, sample_rate=codec.config.sampling_rate, num_samples=num_samples)
        # Those that are long enough, which are the ones that crops are of.
        clips = [clip for clip in read_clips(options.held_out) if len(clip.pcm) >= num_samples][: options.pieces]
        references = list(islice(read_clips(options.references), options.judged_by))
        figures = gate_figures(codec, crops, clips, references, TagJudge(options.musicnn))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(table(figures))
    print(json.dumps({"figures": figures, "holds": {name: LIMITS[name].holds(figures[name]) for name in LIMITS}}))


if __name__ == "__main__":
    main(sys.argv[1:])
