"""Fits a codec's codebooks to other music, and leaves all else as it is.

    python -m etude.codec.refit CODEC OUT --data FOLDER [FOLDER ...] [--crops 1024]

k-means goes on from the codes that are there, so that they mean nearly what they meant, to the decoder and to a
language model. FOLDERs are made by `etude.dataset`; as many crops are taken of each. OUT is a new folder. Values are of
16 bits, so that codes stay the same in a checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import EncodecModel
from transformers.utils import logging as transformers_logging

from etude.codec.crops import Crops
from etude.codec.quantiser import fit, quantise
from etude.random_checkpoint import make_whole

_CROP_S = 4.0
_CROPS_AT_ONCE = 8


@torch.no_grad()
def refit(codec: EncodecModel, data: Sequence[Path], *, crops: int, iterations: int, seed: int) -> tuple[float, float]:
    """Changes the codec's codebooks; returns the share of the latents' variance that they left over before, and after.

    Raises FileNotFoundError or ValueError for data that is none, or too little.
    """
    rate = codec.config.sampling_rate
    latents = []
    for folder in data:
        drawn = Crops(folder, sample_rate=rate, num_samples=round(_CROP_S * rate), seed=seed)
        for i in tqdm(range(-(-crops // len(data) // _CROPS_AT_ONCE)), desc=folder.name):
            latents.append(codec.encoder(drawn.batch(i, _CROPS_AT_ONCE)[:, None]))
    all_latents = torch.cat(latents)
    before = _left_over(codec, all_latents)
    rows = all_latents.transpose(1, 2).flatten(0, 1)
    fit(codec.quantizer, rows, torch.Generator().manual_seed(seed), iterations=iterations, anew=False)
    for layer in codec.quantizer.layers:
        for values in layer.codebook.buffers():
            values.copy_(values.bfloat16())
    return before, _left_over(codec, all_latents)


def _left_over(codec: EncodecModel, latents: torch.Tensor) -> float:
    missed = (quantise(codec.quantizer, latents).latents - latents).square().sum()
    return float(missed / (latents - latents.mean((0, 2), keepdim=True)).square().sum())


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m etude.codec.refit", description=__doc__.splitlines()[0])
    parser.add_argument("codec", type=Path, help="an EncodecModel's folder")
    parser.add_argument("out", type=Path, help="where to write the codec; must not exist yet")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders that etude.dataset made")
    parser.add_argument("--crops", type=int, default=1024, help="of 4 s, in all; default 1024")
    parser.add_argument("--iterations", type=int, default=10, help="of k-means; default 10")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default %(default)s")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    transformers_logging.disable_progress_bar()
    # Before the minutes that it takes, not after them.
    if options.out.exists():
        parser.error(f"{options.out} exists already")
    try:
        codec = EncodecModel.from_pretrained(options.codec, dtype=torch.float32).eval()
        before, after = refit(
            codec, options.data, crops=options.crops, iterations=options.iterations, seed=options.seed
        )
        make_whole(options.out, codec.save_pretrained)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"{before:.3f} of the latents' variance was left over, {after:.3f} is now")


if __name__ == "__main__":
    main(sys.argv[1:])
