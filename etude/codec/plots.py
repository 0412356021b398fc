"""What figures don't tell: how the losses went, and what a reconstruction looks like beside its sound."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from etude.codec.spectra import Spectrum


def plot_log(log: Path, path: Path) -> None:
    """Every number that a training's log follows, over its steps, as a PNG."""
    series: dict[str, list[tuple[int, float]]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        step = row.pop("step")
        held_out = {f"held-out {name}": value for name, value in row.pop("held_out", {}).items()}
        for name, value in {**row, **held_out}.items():
            for suffix, number in _numbers(value):
                series.setdefault(name + suffix, []).append((step, number))
    panels = sorted({name.split("/")[0] for name in series})
    figure = Figure(figsize=(12, 2.5 * -(-len(panels) // 3)))
    figure.subplots_adjust(hspace=0.4)
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(-(-len(panels) // 3), 3, i + 1)
        axes.set_title(panel, fontsize=9)
        for name in sorted(series):
            if name.split("/")[0] == panel:
                axes.plot(*np.array(series[name]).T, label=name.partition("/")[2] or None)
        if f"{panel}/1" in series:
            axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(path, bbox_inches="tight")


def plot_reconstructions(rows: Sequence[tuple[str, Tensor]], sample_rate: int, path: Path) -> None:
    """Mel spectrograms of several versions of the same pieces, as a PNG: a row for a version, a column for a piece.

    rows: the name of a version, and its sound [pieces, samples].
    """
    spectrum = Spectrum(sample_rate, 2048, 128)
    columns = len(rows[0][1])
    figure = Figure(figsize=(4 * columns, 2.4 * len(rows)))
    figure.subplots_adjust(hspace=0.4)
    for i, (name, sound) in enumerate(rows):
        with torch.no_grad():
            mels = spectrum.log_mel(spectrum.magnitude(sound.cpu())).numpy()
        for j, mel in enumerate(mels):
            axes = figure.add_subplot(len(rows), columns, i * columns + j + 1)
            length_s = sound.shape[-1] / sample_rate
            axes.imshow(mel, origin="lower", aspect="auto", vmin=-9.3, vmax=-2, extent=(0, length_s, 0, mel.shape[0]))
            axes.set_title(name, fontsize=9)
    figure.savefig(path, bbox_inches="tight")


def _numbers(value: object) -> list[tuple[str, float]]:
    """A number as it is, a list as its elements, each with what its name ends in; anything else has none."""
    if isinstance(value, list):
        return [(f"/{i + 1}", float(number)) for i, number in enumerate(value)]
    return [("", float(value))] if isinstance(value, int | float) else []
