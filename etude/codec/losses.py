"""How far a reconstruction is from its sound: what training makes small."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from etude.codec.spectra import FLOOR, Spectrum

# Windows in samples, each with its number of mel bands: pitch is seen in the first, attacks in the last.
_WINDOWS = ((2048, 128), (512, 64), (128, 16))

# Quieter crops than this mean magnitude count less, so that silence doesn't count without limit.
_QUIET = 1e-3

WEIGHTS = {"magnitude": 1.0, "log_magnitude": 0.5, "log_mel": 1.0, "wave": 0.3, "commitment": 0.1}


class ReconstructionLoss(nn.Module):
    """The terms of `WEIGHTS`, but for the commitment, which the quantiser knows."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.spectra = nn.ModuleList([Spectrum(sample_rate, window, bands) for window, bands in _WINDOWS])

    def _spectra(self) -> Iterator[Spectrum]:
        for spectrum in self.spectra:
            assert isinstance(spectrum, Spectrum)
            yield spectrum

    def forward(self, sound: Tensor, reconstruction: Tensor) -> dict[str, Tensor]:
        """Scalars by name, all near 1 where nothing is alike. sound, reconstruction: [B, samples]."""
        terms: dict[str, list[Tensor]] = {"magnitude": [], "log_magnitude": [], "log_mel": []}
        for spectrum in self._spectra():
            with torch.no_grad():
                wanted = spectrum.magnitude(sound)
            found = spectrum.magnitude(reconstruction)
            terms["magnitude"].append(_relative(wanted, found))
            terms["log_magnitude"].append((torch.log(wanted + FLOOR) - torch.log(found + FLOOR)).abs().mean())
            terms["log_mel"].append((spectrum.log_mel(wanted) - spectrum.log_mel(found)).abs().mean())
        means = {name: torch.stack(values).mean() for name, values in terms.items()}
        return {**means, "wave": _relative(sound, reconstruction)}


def _relative(wanted: Tensor, found: Tensor) -> Tensor:
    """The mean difference over the mean level, crop by crop; [B, …] → scalar."""
    level = wanted.abs().flatten(1).mean(1) + _QUIET
    return ((wanted - found).abs().flatten(1).mean(1) / level).mean()


def weighted(terms: Mapping[str, Tensor]) -> Tensor:
    """The sum of the terms by their weights."""
    return torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()
