"""musicnn: a network that Pons & Serra (2019, arXiv:1909.06654) taught what listeners call music (MagnaTagATune).

    python -m etude.judges.musicnn WHEEL WEIGHTS.safetensors

Their network has read nothing of ours. WHEEL is `pip download --no-deps musicnn==0.1.0` (ISC licence); its weights are
written as plain arrays, and neither TensorFlow nor librosa is needed. The network hears 3 s at a time.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.signal import resample_poly
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.audio_utils import mel_filter_bank

from etude.judges.tensor_bundle import read_bundle

_TAGS = (
    "guitar,classical,slow,techno,strings,drums,electronic,rock,fast,piano,ambient,beat,violin,vocal,synth,female,"
    "indian,opera,male,singing,vocals,no vocals,harpsichord,loud,quiet,flute,woman,male vocal,no vocal,pop,soft,sitar,"
    "solo,man,classic,choir,voice,new age,dance,male voice,female vocal,beats,harp,cello,no voice,weird,country,metal,"
    "female voice,choral"
)
TAGS = tuple(_TAGS.split(","))

EMBEDDING_WIDTH = 200

_RATE, _WINDOW, _HOP, _BANDS = 16000, 512, 256, 96

# 3 s of spectra.
_FRAMES = 187

_TIMBRAL = ((7, 38), (7, 67))
_TEMPORAL = (128, 64, 32)
_MIDDLE = 64

# TensorFlow's.
_EPSILON = 1e-3

_FOLDER = "musicnn/MTT_musicnn/"


class Musicnn(nn.Module):
    """The network, in the shape of its authors' `musicnn/models.py`."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.BatchNorm2d(1, _EPSILON)
        wide, narrow = 204, 51
        self.timbral = nn.ModuleList([_layer(nn.Conv2d(1, wide, kernel)) for kernel in _TIMBRAL])
        self.temporal = nn.ModuleList([_layer(nn.Conv2d(1, narrow, (taps, 1))) for taps in _TEMPORAL])
        features = len(_TIMBRAL) * wide + len(_TEMPORAL) * narrow
        self.middle = nn.ModuleList([_layer(nn.Conv1d(width, _MIDDLE, 7)) for width in (features, _MIDDLE, _MIDDLE)])
        pooled = 2 * (features + 3 * _MIDDLE)
        self.pooled = nn.BatchNorm1d(pooled, _EPSILON)
        self.dense = nn.Linear(pooled, EMBEDDING_WIDTH)
        self.penultimate = nn.BatchNorm1d(EMBEDDING_WIDTH, _EPSILON)
        self.tags = nn.Linear(EMBEDDING_WIDTH, len(TAGS))

    def forward(self, spectra: Tensor) -> tuple[Tensor, Tensor]:
        """[B, frames, bands] → how likely each of TAGS is [B, tags], and the layer before that [B, EMBEDDING_WIDTH]."""
        normal = self.first(spectra[:, None])
        found = []
        for layer in self.timbral:
            found.append(_activated(layer, F.pad(normal, (0, 0, 3, 3))).amax(3))
        for layer, taps in zip(self.temporal, _TEMPORAL, strict=True):
            before = (taps - 1) // 2
            found.append(_activated(layer, F.pad(normal, (0, 0, before, taps - 1 - before))).amax(3))
        hidden = torch.cat(found, dim=1)
        together = [hidden]
        for place, layer in enumerate(self.middle):
            made = _activated(layer, F.pad(hidden, (3, 3)))
            hidden = made if place == 0 else hidden + made
            together.append(hidden)
        features = torch.cat(together, dim=1)
        pooled = torch.stack([features.amax(2), features.mean(2)], dim=2).flatten(1)
        embedding = self.penultimate(F.relu(self.dense(self.pooled(pooled))))
        return torch.sigmoid(self.tags(embedding)), embedding


class TagJudge:
    """weights: the file that this module's command wrote."""

    def __init__(self, weights: Path) -> None:
        with torch.random.fork_rng(devices=[]):
            self._network = Musicnn().eval()
        self._network.load_state_dict(load_file(weights))

    @torch.no_grad()
    def listen(self, sound: NDArray[np.float32], sample_rate: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of every whole 3 s of a sound [samples]: how likely each tag is [N, tags], embeddings [N, EMBEDDING_WIDTH].

        Raises ValueError for less than 3 s.
        """
        spectra = log_mel(sound, sample_rate)
        count = len(spectra) // _FRAMES
        if count == 0:
            raise ValueError(
                f"a sound of {len(sound) / sample_rate:g} s is too short for a judge that hears 3 s at a time"
            )
        tags, embeddings = self._network(spectra[: count * _FRAMES].view(count, _FRAMES, _BANDS))
        return tags.numpy().astype(np.float64), embeddings.numpy().astype(np.float64)


def log_mel(sound: NDArray[np.float32], sample_rate: int) -> Tensor:
    """[samples] → [frames, bands], as musicnn has it of librosa: log10(1 + 10000 · power), Slaney's mel scale."""
    divisor = int(np.gcd(sample_rate, _RATE))
    resampled = torch.from_numpy(resample_poly(sound.astype(np.float64), _RATE // divisor, sample_rate // divisor))
    hann = torch.hann_window(_WINDOW, dtype=torch.float64)
    spectrum = torch.stft(resampled[None], _WINDOW, _HOP, window=hann, pad_mode="reflect", return_complex=True)[0]
    filters = mel_filter_bank(_WINDOW // 2 + 1, _BANDS, 0.0, _RATE / 2, _RATE, norm="slaney", mel_scale="slaney")
    return torch.log10(1 + 10000 * (spectrum.abs().square().T @ torch.from_numpy(filters))).float()


def convert(wheel: Path) -> dict[str, Tensor]:
    """The weights in a wheel of musicnn, by their names in `Musicnn`.

    Raises BadZipFile, KeyError or ValueError for another file.
    """
    with zipfile.ZipFile(wheel) as archive:
        there = read_bundle(archive.read(f"{_FOLDER}.index"), archive.read(f"{_FOLDER}.data-00000-of-00001"))
    layers = (
        [f"timbral.{i}" for i in range(2)] + [f"temporal.{i}" for i in range(3)] + [f"middle.{i}" for i in range(3)]
    )
    weights: dict[str, Tensor] = {}
    for place, layer in enumerate(layers):
        suffix = f"_{place}" if place else ""
        kernel = there[f"conv2d{suffix}/kernel"]
        if layer.startswith("middle"):
            # [taps, features, 1, filters] over a map one channel deep.
            weights[f"{layer}.0.weight"] = torch.from_numpy(kernel[:, :, 0].transpose(2, 1, 0).copy())
        else:
            weights[f"{layer}.0.weight"] = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
        weights[f"{layer}.0.bias"] = torch.from_numpy(there[f"conv2d{suffix}/bias"].copy())
    norms = ["first", *(f"{layer}.1" for layer in layers), "pooled", "penultimate"]
    for place, layer in enumerate(norms):
        name = f"batch_normalization_{place}" if place else "batch_normalization"
        for ours, theirs in _NORM_NAMES.items():
            weights[f"{layer}.{ours}"] = torch.from_numpy(there[f"{name}/{theirs}"].copy())
        weights[f"{layer}.num_batches_tracked"] = torch.tensor(0)
    for layer, name in (("dense", "dense"), ("tags", "dense_1")):
        weights[f"{layer}.weight"] = torch.from_numpy(there[f"{name}/kernel"].T.copy())
        weights[f"{layer}.bias"] = torch.from_numpy(there[f"{name}/bias"].copy())
    return weights


_NORM_NAMES = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def _layer(conv: nn.Conv1d | nn.Conv2d) -> nn.Sequential:
    norm = nn.BatchNorm1d if isinstance(conv, nn.Conv1d) else nn.BatchNorm2d
    return nn.Sequential(conv, norm(conv.out_channels, _EPSILON))


def _activated(layer: nn.Module, hidden: Tensor) -> Tensor:
    """Convolution, rectifier, normalisation: in this order."""
    conv, norm = layer.children()
    normal: Tensor = norm(F.relu(conv(hidden)))
    return normal


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m etude.judges.musicnn", description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path, help="musicnn-0.1.0-py3-none-any.whl")
    parser.add_argument("weights", type=Path, help="where to write them")
    options = parser.parse_args(arguments)
    try:
        save_file(convert(options.wheel), options.weights)
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        parser.error(f"{options.wheel}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
