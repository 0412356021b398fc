"""Codecs of random weights and several geometries, and the slow way to decode with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import EncodecConfig, EncodecModel

from deployments.checkpoints.tensor_files import fuse_weight_norm
from deployments.codec_decoder.codec import Codec

_MUSICGEN = {
    "sampling_rate": 32_000,
    "target_bandwidths": [1.6],
    "upsampling_ratios": [8, 5, 4, 4],
    "num_filters": 2,
    "hidden_size": 16,
    "codebook_size": 256,
    "use_causal_conv": False,
    "use_conv_shortcut": False,
}

# Each is at 50 frames a second with 4 codebooks of 256. The last reach further than MusicGen's, to both sides.
GEOMETRIES: dict[str, dict[str, Any]] = {
    "musicgen": _MUSICGEN,
    "audiogen": {**_MUSICGEN, "sampling_rate": 16_000, "upsampling_ratios": [8, 5, 4, 2], "num_filters": 4},
    "dilated": {
        **_MUSICGEN,
        "sampling_rate": 300,
        "upsampling_ratios": [3, 2],
        "num_residual_layers": 3,
        "dilation_growth_rate": 3,
        "kernel_size": 5,
        "compress": 1,
        "num_lstm_layers": 1,
        "use_conv_shortcut": True,
    },
    "even kernels": {
        **_MUSICGEN,
        "sampling_rate": 250,
        "upsampling_ratios": [5],
        "kernel_size": 4,
        "residual_kernel_size": 6,
        "last_kernel_size": 8,
    },
}


def config(geometry: str, **changes: Any) -> EncodecConfig:
    return EncodecConfig(**{**GEOMETRIES[geometry], **changes})


def tensors(codec_config: EncodecConfig, seed: int = 0) -> dict[str, Tensor]:
    """What a checkpoint's codec part holds, drawn at random."""
    torch.manual_seed(seed)
    drawn = {}
    for name, tensor in fuse_weight_norm(EncodecModel(codec_config).state_dict()).items():
        if name.startswith("decoder."):
            drawn[name] = tensor
        elif name.endswith(".embed"):
            drawn[name] = torch.randn_like(tensor)
    return drawn


def random_codec(geometry: str, *, channels: int = 1, seed: int = 0) -> Codec:
    codec_config = config(geometry)
    return Codec(codec_config, tensors(codec_config, seed), num_codebooks=4 * channels, channels=channels)


def random_codes(codec: Codec, num_frames: int, seed: int = 0) -> np.ndarray:
    shape = (codec.num_codebooks, num_frames)
    return np.random.default_rng(seed).integers(0, codec.codebook_size, shape).astype(np.int16)


@torch.inference_mode()
def decode_in_one_run(codec: Codec, codes: np.ndarray) -> np.ndarray:
    """The whole clip through every layer at once, a channel at a time."""
    network = codec.network
    sounds = []
    for channel in range(codec.channels):
        hidden, _ = network.lstm(network.before_lstm(codec.embed(codes[channel :: codec.channels])), None)
        sounds.append(network.after_lstm(hidden)[0].numpy())
    return np.concatenate(sounds)


def relative_error(ours: np.ndarray, reference: np.ndarray) -> float:
    """The largest difference, as a fraction of the reference's RMS."""
    return float(np.abs(ours - reference).max() / np.sqrt(np.square(reference).mean()))
