"""A decoder of random weights, without a checkpoint: for tests of the engine, not of loading."""

from __future__ import annotations

import numpy as np
import torch

from deployments.language_model.config import DecoderConfig
from deployments.language_model.decoder import Decoder
from deployments.language_model.engine.engine import Engine
from deployments.language_model.gpu.decoder import GpuDecoder
from deployments.language_model.loading import INT8, make_decoder
from deployments.language_model.weights import DecoderWeights, expected_shapes, fuse
from deployments.messages import CodeFrames, CodeRequest, Sampling

CONFIG = DecoderConfig(
    num_codebooks=4, channels=1, vocab_size=192, width=128, num_layers=2, num_heads=2, ffn_width=256, text_width=48
)


def random_weights(config: DecoderConfig, dtype: str = "float32", seed: int = 0, device: str = "cpu") -> DecoderWeights:
    """Large enough that logits spread: tokens near-uniform whatever came before would hide every mistake."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in expected_shapes(config).items():
        scale = 0.3 if "embed_tokens" in name else 2 / shape[-1] ** 0.5
        drawn = torch.randn(shape, generator=generator)
        tensors[name] = 1 + 0.1 * drawn if name.endswith("norm.weight") else drawn * scale
    return fuse(tensors, config, dtype, device)


def random_decoder(dtype: str, max_frames: int = 1500, num_threads: int = 2) -> Decoder:
    """dtype: float32 | bfloat16 | int8."""
    weights = random_weights(CONFIG, "float32" if dtype == INT8 else dtype)
    return make_decoder(CONFIG, weights, dtype, max_frames, num_threads)


def gpu_decoder(dtype: str, max_frames: int = 64, device: str = "cpu") -> GpuDecoder:
    """dtype: float32 | bfloat16 | int8. The same weights as `random_decoder`'s."""
    weights = random_weights(CONFIG, "bfloat16" if dtype == "bfloat16" else "float32", device=device)
    return GpuDecoder(CONFIG, weights, dtype, max_frames + max(CONFIG.delays), max_rows=16)


def request(
    name: str,
    *,
    num_frames: int = 20,
    seed: int = 0,
    num_tokens: int = 5,
    prompt_codes: np.ndarray | None = None,
    sampling: Sampling = Sampling(),
) -> CodeRequest:
    """The text states depend on the number of tokens only."""
    states = np.random.default_rng(num_tokens).standard_normal((num_tokens, CONFIG.text_width)).astype(np.float32)
    return CodeRequest(name, states, num_frames, seed, sampling, prompt_codes)


def collect(frames: list[CodeFrames]) -> dict[str, np.ndarray]:
    """Codes [K, n] by request; asserts that they came in order, without gap or overlap."""
    parts: dict[str, list[CodeFrames]] = {}
    for part in frames:
        before = parts.setdefault(part.request_id, [])
        if before:
            assert part.first_frame == before[-1].first_frame + before[-1].codes.shape[1]
            assert not before[-1].finished
        before.append(part)
    return {name: np.concatenate([part.codes for part in those], axis=1) for name, those in parts.items()}


def run(engine: Engine, *requests: CodeRequest) -> dict[str, np.ndarray]:
    for each in requests:
        engine.add(each)
    frames = []
    while not engine.idle:
        frames += engine.step()
        engine.check_integrity()
    return collect(frames)
