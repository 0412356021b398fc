"""How good a codec is, in figures: sound goes through it as in service, and is compared with what comes out."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from transformers import EncodecModel

from etude.codec.crops import Crops
from etude.codec.quantiser import perplexity
from etude.codec.spectra import Spectrum

_WINDOW, _BANDS = 2048, 128

# Pieces that go through the codec at a time.
_BATCH = 8


@dataclass(frozen=True)
class Figures:
    """Means over pieces.

    mel_distance: mean absolute difference of the natural logarithms of the mel bands' magnitudes.
    spectral_convergence: norm of the difference of the magnitudes over the norm of the sound's.
    codebook_use: the share of each codebook's codes that occurred. perplexity: of each codebook's codes.
    Both are empty where nothing was quantised.
    """

    mel_distance: float
    spectral_convergence: float
    codebook_use: tuple[float, ...] = ()
    perplexity: tuple[float, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


@torch.no_grad()
def reconstruct(model: EncodecModel, sound: Tensor, *, quantised: bool = True) -> tuple[Tensor, Tensor | None]:
    """The sound that comes back, and the codes it went through, [B, K, T], if any. sound: [B, samples]."""
    if not quantised:
        restored = model.decoder(model.encoder(sound[:, None]))
        return restored[:, 0, : sound.shape[-1]], None
    encoded = model.encode(sound[:, None])
    restored = model.decode(encoded.audio_codes, encoded.audio_scales).audio_values
    return restored[:, 0, : sound.shape[-1]], encoded.audio_codes[0]


@torch.no_grad()
def measure(model: EncodecModel, crops: Crops, *, pieces: int, quantised: bool = True) -> Figures:
    """The figures over the beginnings of so many pieces, or of all there are. The model's mode is left as it was."""
    device = next(model.parameters()).device
    spectrum = Spectrum(model.config.sampling_rate, _WINDOW, _BANDS).to(device)
    mels, convergences, counts = [], [], torch.zeros(model.config.num_quantizers, model.config.codebook_size)
    was_training = model.training
    model.eval()
    for first in range(0, min(pieces, len(crops)), _BATCH):
        sound = crops.beginnings(first, min(_BATCH, pieces - first)).to(device)
        restored, codes = reconstruct(model, sound, quantised=quantised)
        wanted, found = spectrum.magnitude(sound), spectrum.magnitude(restored)
        mels.append((spectrum.log_mel(wanted) - spectrum.log_mel(found)).abs().mean((1, 2)))
        convergences.append((wanted - found).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1).clamp(min=1e-3))
        if codes is not None:
            for row, used in zip(counts, codes.transpose(0, 1).flatten(1).cpu(), strict=True):
                row += torch.bincount(used, minlength=len(row))
    model.train(was_training)
    figures = Figures(float(torch.cat(mels).mean()), float(torch.cat(convergences).mean()))
    if not quantised:
        return figures
    use = tuple(float((row > 0).float().mean()) for row in counts)
    return Figures(figures.mel_distance, figures.spectral_convergence, use, tuple(perplexity(row) for row in counts))
