"""Makes a codec that works, without having trained one: transform, envelope, codebooks and texture, in minutes.

    python -m etude.codec.start --data FOLDER --out CODEC [--steps 400] [--minutes 7]

DATA is a folder that `etude.dataset` made. CODEC is an EncodecModel's folder: half of its latents are components of a
lapped transform (`initialise.py`), the others the envelope's (`energies.py`, `envelope.py`, `head.py`), so that the
first codebook says what sounds, and a language model can foresee it; codebooks are set by k-means, and what the
transform leaves out is filled in (`filling.py`). Weights are of 16 bits already: codes stay the same in a checkpoint.
`etude.codec.train --stage decoder --from CODEC` goes on from there.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import EncodecModel
from transformers.utils import logging as transformers_logging

from etude.codec.crops import Crops
from etude.codec.energies import before_lstm, write_energies
from etude.codec.envelope import Envelope, log_bands
from etude.codec.filling import levels, write_filling
from etude.codec.geometry import Geometry
from etude.codec.head import Head, train_head, write_head
from etude.codec.initialise import new_codec
from etude.codec.quantiser import fit, quantise
from etude.random_checkpoint import make_whole

# What the transform is made from.
_FIRST_CROPS, _FIRST_CROP_S = 240, 0.5

_CROPS_AT_ONCE = 8
_LATENTS_PER_CODE = 16


@dataclass(frozen=True)
class Start:
    """geometry: its latents are the transform's `components` and the envelope's. crops: so many, each of crop_s, the
    head learns from. steps, minutes: of its training, which ends with whichever is over first.
    """

    geometry: Geometry
    components: int
    crops: int
    crop_s: float
    steps: int
    minutes: float | None
    seed: int


def start_codec(data: Path, start: Start) -> EncodecModel:
    """The codec, in float32, of 16-bit values. Raises FileNotFoundError or ValueError for data that is none."""
    geometry, components = start.geometry, start.components
    rate, hop = geometry.sample_rate, geometry.hop
    first = Crops(data, sample_rate=rate, num_samples=round(_FIRST_CROP_S * rate), seed=start.seed)
    model = new_codec(geometry, first.batch(0, _FIRST_CROPS), seed=start.seed, components=components).eval()
    write_energies(model, components)
    crops = Crops(data, sample_rate=rate, num_samples=round(start.crop_s * rate / hop) * hop, seed=start.seed)
    sounds = [crops.batch(i, _CROPS_AT_ONCE) for i in range(-(-start.crops // _CROPS_AT_ONCE))]
    with torch.no_grad():
        hidden = torch.cat([before_lstm(model, each).transpose(1, 2) for each in tqdm(sounds, desc="encoding")])
    bands = torch.cat([log_bands(each, rate, hop) for each in sounds])
    width = geometry.latent_width - components
    envelope = Envelope.of_bands(bands.flatten(0, 1), width, geometry.latent_width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(start.seed)
        head = Head(hidden.shape[-1], 2 * components, width)
    wanted = envelope.latents(bands)
    head.begin(hidden, wanted)
    missed = train_head(head, hidden, wanted, steps=start.steps, seed=start.seed, minutes=start.minutes, log=tqdm.write)
    tqdm.write(f"{missed:.3f} of the envelope's variance is not told")
    write_head(model, head, components)
    _set_codebooks(model, sounds, start)
    rounded: EncodecModel = model.bfloat16().float()
    return rounded


@torch.no_grad()
def _set_codebooks(model: EncodecModel, sounds: list[Tensor], start: Start) -> None:
    """Codebooks by k-means, and the levels that can be read from them."""
    frames = sounds[0].numel() // start.geometry.hop
    enough = sounds[: -(-_LATENTS_PER_CODE * start.geometry.codebook_size // frames)]
    latents = torch.cat([model.encoder(each[:, None]) for each in enough])
    fit(model.quantizer, latents.transpose(1, 2).flatten(0, 1), torch.Generator().manual_seed(start.seed), iterations=8)
    told = quantise(model.quantizer, latents).latents.transpose(1, 2)
    wanted = torch.cat([levels(model, each, start.geometry.ratios[0]) for each in enough])
    write_filling(model, told, wanted, components=start.components, seed=start.seed)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m etude.codec.start", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder that etude.dataset made")
    parser.add_argument("--out", type=Path, required=True, help="where to write the codec; must not exist yet")
    parser.add_argument("--filters", type=int, default=16, help="default 16")
    parser.add_argument("--ratios", type=int, nargs="+", default=[8, 5, 4, 4], help="default 8 5 4 4")
    parser.add_argument("--components", type=int, default=64, help="latents of the transform; default 64")
    parser.add_argument("--envelope", type=int, default=32, help="latents of the envelope; default 32")
    parser.add_argument("--crops", type=int, default=560, help="to learn from; default 560")
    parser.add_argument("--crop-s", type=float, default=4.0, help="default 4")
    parser.add_argument("--steps", type=int, default=400, help="of the head's training; default 400")
    parser.add_argument("--minutes", type=float, help="end the head's training after so many")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default %(default)s")
    parser.add_argument("--nice", type=int, default=0, help="how far others go first, 0 to 19; default 0")
    options = parser.parse_args(arguments)
    os.nice(options.nice)
    torch.set_num_threads(options.threads)
    transformers_logging.disable_progress_bar()
    try:
        geometry = Geometry(
            filters=options.filters,
            ratios=tuple(options.ratios),
            latent_width=options.components + options.envelope,
        )
        told = {name: getattr(options, name) for name in ("components", "crops", "crop_s", "steps", "minutes", "seed")}
        start = Start(geometry, **told)
        model = start_codec(options.data, start)
        make_whole(options.out, model.save_pretrained)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
