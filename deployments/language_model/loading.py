"""Which decoder a setting means, and its weights from a checkpoint.

`model.MusicgenDecoder` is plain torch: the float32 reference, bfloat16, and what runs on a GPU.
`cpu.decoder.Int8Decoder` is compiled for a CPU.
"""

from __future__ import annotations

import torch

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.language_model.config import DecoderConfig
from deployments.language_model.cpu.decoder import Int8Decoder
from deployments.language_model.cpu.kernels import HEAD_WIDTH
from deployments.language_model.decoder import Decoder
from deployments.language_model.model import MusicgenDecoder
from deployments.language_model.weights import DecoderWeights, load_weights

AUTO = "auto"
INT8 = "int8"


def fastest_dtype(config: DecoderConfig, device: str) -> str:
    """The numeric type of the weights that is fastest on this machine and as exact in repeating itself."""
    if device != "cpu":
        return "bfloat16"
    if config.head_width == HEAD_WIDTH:
        return INT8
    # Without the instructions bfloat16 is emulated, slower than float32.
    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"


def set_torch_threads(dtype: str, num_threads: int) -> None:
    """Gives a process's threads to whoever computes its steps.

    torch's wait for their next work by spinning: beside the int8 decoder's own they would take half the machine.
    """
    torch.set_num_threads(1 if dtype == INT8 else num_threads)


def make_decoder(
    config: DecoderConfig, weights: DecoderWeights, dtype: str, max_frames: int, num_threads: int
) -> Decoder:
    """weights: float32 for int8, else of the type itself. Raises: CheckpointError for a shape int8 doesn't have."""
    max_positions = max_frames + max(config.delays)
    if dtype == INT8:
        return Int8Decoder(config, weights, max_positions, num_threads=num_threads)
    return MusicgenDecoder(config, weights, max_positions)


def load_decoder(checkpoint: Checkpoint, dtype: str, device: str, max_frames: int, num_threads: int) -> Decoder:
    """dtype: int8 | bfloat16 | float32, or auto. max_frames: of a generation. Sets torch's threads for the process.

    Raises: CheckpointError.
    """
    config = DecoderConfig.from_transformers(checkpoint.config)
    chosen = fastest_dtype(config, device) if dtype == AUTO else dtype
    set_torch_threads(chosen, num_threads)
    weights = load_weights(checkpoint, "float32" if chosen == INT8 else chosen, device)
    return make_decoder(config, weights, chosen, max_frames, num_threads)
