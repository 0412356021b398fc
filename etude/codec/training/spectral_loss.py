"""How far a reconstruction's spectra are from its sound's, on several scales of time and frequency.

The log-mel distance on many scales is that of DAC (Kumar et al. 2023, arXiv:2306.06546); the spectral convergence is
of arXiv:1808.06719 (2018). Neither hears phases.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from etude.codec.spectra import FLOOR, Spectrum

# Windows in samples, each with its number of mel bands: as many as have a bin of their own, or nearly.
WINDOWS = ((4096, 192), (2048, 128), (512, 64), (128, 16))

# Of these windows linear magnitudes are compared, too, and of those the logarithms of single bins. At 32 kHz the
# longest tells lines 50 Hz apart from what is between them: a comb of the frame rate costs something.
_CONVERGING, _EVERY_BIN = (2048, 512), (4096, 2048)

# Crops whose magnitudes have a root mean square below this count less: silence would otherwise count without limit.
_QUIET = 1e-4


class SpectralLoss(nn.Module):
    """One number, and the parts it is made of. sample_rate: in Hz."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.spectra = nn.ModuleList([Spectrum(sample_rate, window, bands) for window, bands in WINDOWS])

    def _spectra(self) -> Iterator[Spectrum]:
        for spectrum in self.spectra:
            assert isinstance(spectrum, Spectrum)
            yield spectrum

    def forward(self, sound: Tensor, reconstruction: Tensor) -> dict[str, Tensor]:
        """Scalars by name: `log_mel`, the mean over windows; `log_magnitude` and `convergence`, over two of them.

        sound, reconstruction: [B, samples].
        """
        log_mels, logs, convergences = [], [], []
        for spectrum in self._spectra():
            with torch.no_grad():
                wanted = spectrum.magnitude(sound)
                wanted_mel = spectrum.log_mel(wanted)
            found = spectrum.magnitude(reconstruction)
            log_mels.append((wanted_mel - spectrum.log_mel(found)).abs().mean())
            if len(spectrum.hann) in _EVERY_BIN:
                logs.append((torch.log(wanted + FLOOR) - torch.log(found + FLOOR)).abs().mean())
            if len(spectrum.hann) in _CONVERGING:
                convergences.append(_convergence(wanted, found))
        return {
            "log_mel": torch.stack(log_mels).mean(),
            "log_magnitude": torch.stack(logs).mean(),
            "convergence": torch.stack(convergences).mean(),
        }


def _convergence(wanted: Tensor, found: Tensor) -> Tensor:
    """The norm of the difference over the norm of what is wanted, crop by crop: [B, bins, times] → scalar."""
    level = wanted.flatten(1).norm(dim=1) + _QUIET * wanted[0].numel() ** 0.5
    # At equal magnitudes a norm has no gradient; with the constant it is zero there.
    difference = torch.sqrt((wanted - found).square().flatten(1).sum(1) + 1e-12)
    mean: Tensor = (difference / level).mean()
    return mean
