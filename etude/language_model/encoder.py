"""A codec's encoder: sound into codes, and what tells one codec's codes from another's."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import EncodecModel

# Enough of each codebook to know it by; and how much rounding weights to 16 bits may change of that.
_KNOWN_BY = 16
_TOLERANCE = 0.02


@dataclass(frozen=True)
class CodeFormat:
    """What codes mean. codebooks: K, over all channels. lengths: of the first vectors of each of the codec's codebooks.

    A codec whose decoder was trained on has the same codebooks, so the same codes; one whose codebooks were has others.
    """

    codebooks: int
    channels: int
    vocab: int
    frame_rate: int
    sample_rate: int
    lengths: tuple[tuple[float, ...], ...]

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CodeFormat:
        """What `to_json` wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "lengths": tuple(tuple(each) for each in fields["lengths"])})

    def difference(self, other: CodeFormat) -> str:
        """What differs, in words; empty where the codes mean the same, whatever type the weights are stored in."""
        for name in ("codebooks", "channels", "vocab", "frame_rate", "sample_rate"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                return f"{name} is {mine} there and {theirs} here"
        same = np.shape(self.lengths) == np.shape(other.lengths) and np.allclose(
            self.lengths, other.lengths, rtol=_TOLERANCE
        )
        return "" if same else "the codebooks have other vectors"


class CodeEncoder:
    """codec: of one channel. channels: of the sound that the codes are for; the codec runs once for each.

    The device is the codec's; its type must be float32, as codes change with its rounding.
    """

    def __init__(self, codec: EncodecModel, *, channels: int = 1) -> None:
        self._codec = codec.eval()
        self._channels = channels
        self.sample_rate: int = codec.config.sampling_rate
        self.hop: int = codec.config.hop_length

    @property
    def format(self) -> CodeFormat:
        config = self._codec.config
        books = [layer.codebook.embed[:_KNOWN_BY].float() for layer in self._codec.quantizer.layers]
        return CodeFormat(
            codebooks=self._channels * config.num_quantizers,
            channels=self._channels,
            vocab=config.codebook_size,
            frame_rate=config.frame_rate,
            sample_rate=self.sample_rate,
            lengths=tuple(tuple(round(value, 6) for value in book.norm(dim=1).tolist()) for book in books),
        )

    @torch.no_grad()
    def encode(self, sound: NDArray[np.float32]) -> NDArray[np.int16]:
        """[channels, samples], or [1, samples] for all channels alike → codes [K, T], in the order 1L 1R 2L 2R …

        A last frame that the sound doesn't fill is filled with silence.
        """
        padded = np.pad(sound, ((0, 0), (0, -sound.shape[1] % self.hop)))
        device = next(self._codec.parameters()).device
        codes = self._codec.encode(torch.from_numpy(padded)[:, None].to(device)).audio_codes[0]
        # [channels, K / channels, T] → [K, T]; a codebook's channels are next to each other.
        spread: NDArray[np.int64] = codes.expand(self._channels, -1, -1).transpose(0, 1).flatten(0, 1).cpu().numpy()
        return spread.astype(np.int16)
