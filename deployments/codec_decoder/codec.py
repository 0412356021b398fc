"""EnCodec's decoder as a set of weights: codes in, sound out, one mono network for every channel.

It knows nothing of clips and streams: `streaming.py` decides what is run when, and is the only way to sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from deployments.checkpoints.checkpoint import Checkpoint, check_tensors
from deployments.checkpoints.config import CheckpointError
from deployments.codec_decoder.seanet import SeanetDecoder, SeanetShape

if TYPE_CHECKING:
    from transformers import EncodecConfig

# What the decoder below takes for granted of transformers' EncodecConfig. All of MusicGen's and AudioGen's are so.
_SUPPORTED = {
    "audio_channels": 1,
    "chunk_length_s": None,
    "normalize": False,
    "norm_type": "weight_norm",
    "pad_mode": "reflect",
    "use_causal_conv": False,
}


class Codec:
    """The decoder of C channels: K = C · (codebooks of the mono codec) rows of codes, in the order 1L 1R 2L 2R …

    config: of the mono codec. tensors: its decoder's and codebooks', named as in transformers' `EncodecModel`, weight
    norm fused into `weight`; float32 on the CPU. num_codebooks: K. channels: C.
    Raises: CheckpointError for a codec of another kind; for tensors that are missing, left over or of a wrong shape.
    """

    def __init__(
        self, config: EncodecConfig, tensors: Mapping[str, Tensor], *, num_codebooks: int, channels: int = 1
    ) -> None:
        for field, supported in _SUPPORTED.items():
            if getattr(config, field) != supported:
                raise CheckpointError(
                    f"the codec has {field}={getattr(config, field)!r}; only {supported!r} can be decoded"
                )
        if num_codebooks != channels * config.num_quantizers:
            raise CheckpointError(
                f"the language model makes {num_codebooks} codebooks for {channels} channels, "
                f"but the codec has {config.num_quantizers} a channel"
            )
        shape = SeanetShape(
            hidden_size=config.hidden_size,
            num_filters=config.num_filters,
            upsampling_ratios=tuple(config.upsampling_ratios),
            kernel_size=config.kernel_size,
            last_kernel_size=config.last_kernel_size,
            residual_kernel_size=config.residual_kernel_size,
            num_residual_layers=config.num_residual_layers,
            dilation_growth_rate=config.dilation_growth_rate,
            compress=config.compress,
            num_lstm_layers=config.num_lstm_layers,
            use_conv_shortcut=config.use_conv_shortcut,
        )
        with torch.device("meta"):
            self.network = SeanetDecoder(shape)
        codebook_names = [f"quantizer.layers.{i}.codebook.embed" for i in range(config.num_quantizers)]
        expected = {f"decoder.{name}": tuple(tensor.shape) for name, tensor in self.network.state_dict().items()}
        expected |= dict.fromkeys(codebook_names, (config.codebook_size, config.hidden_size))
        check_tensors(tensors, expected, "codec")
        weights = {name: tensors[f"decoder.{name}"] for name in self.network.state_dict()}
        self.network.load_state_dict(weights, assign=True)
        self.network.eval().requires_grad_(False)
        self.codebooks = torch.stack([tensors[name] for name in codebook_names])

        self.num_codebooks = num_codebooks
        self.codebook_size: int = config.codebook_size
        self.channels = channels
        self.sample_rate: int = config.sampling_rate
        self.frame_rate: int = config.frame_rate
        self.hop = shape.hop
        """Samples in a frame."""
        self.lookahead = self.network.context_before_lstm[1] + self.network.context_after_lstm[1]
        """Frames after its own that a frame's sound depends on."""

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Codec:
        """Raises: CheckpointError, also when the language model makes codes that the codec doesn't have."""
        config, decoder = checkpoint.codec_config, checkpoint.decoder_config
        if decoder.vocab_size > config.codebook_size:
            raise CheckpointError(
                f"the language model makes {decoder.vocab_size} codes, but the codec's codebooks have "
                f"{config.codebook_size}"
            )
        return cls(
            config,
            checkpoint.tensors("codec", torch.float32),
            num_codebooks=decoder.num_codebooks,
            channels=decoder.audio_channels,
        )

    def check(self, codes: np.ndarray) -> None:
        """Raises: ValueError unless codes are integers [K, any] in [0, codebook size)."""
        if codes.ndim != 2 or codes.shape[0] != self.num_codebooks or not np.issubdtype(codes.dtype, np.integer):
            raise ValueError(
                f"codes must be integers of shape [{self.num_codebooks}, frames], not {codes.dtype} {list(codes.shape)}"
            )
        if codes.size and (codes.min() < 0 or codes.max() >= self.codebook_size):
            raise ValueError(f"codes must be in [0, {self.codebook_size - 1}], not in [{codes.min()}, {codes.max()}]")

    def embed(self, codes: np.ndarray) -> Tensor:
        """The sum of the codes' vectors. codes: [codebooks of one channel, T] → float32 [1, hidden_size, T]."""
        indices = torch.from_numpy(codes.astype(np.int64))
        books = torch.arange(len(self.codebooks)).unsqueeze(1)
        return self.codebooks[books, indices].sum(0).T.unsqueeze(0).contiguous()
