"""What 8 and 16 bits change: teacher-forced, against the same weights in float32.

    .venv/bin/python -m loadtests.bench_numerics --frames 150

For the embedded checkpoint and for random weights of a shape, after random tokens and after tokens that the float32
model drew itself: a draw's mean Kullback-Leibler divergence in nats, and how often the likeliest token is the same.
Plain: of both branches, with the text and without. Guided: of what tokens are drawn from, guidance 3, which makes every
difference three to five times as large. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.language_model.config import DecoderConfig
from deployments.language_model.decoder import HostDecoder
from deployments.language_model.engine.engine import Engine
from deployments.language_model.engine.request import apply_delay, num_steps
from deployments.language_model.loading import INT8, make_decoder
from deployments.language_model.weights import DecoderWeights, fuse, load_weights
from deployments.messages import CodeRequest
from loadtests.measuring.hardware import commit, describe
from loadtests.measuring.requests import NUM_TEXT_TOKENS, SAMPLING
from loadtests.measuring.shapes import SHAPES, random_tensors
from loadtests.measuring.teacher_forcing import Distance, guided, teacher_forced

EMBEDDED = Path("etude/checkpoint")
REFERENCE = "float32"
COMPARED = (INT8, "bfloat16")


def embedded(dtype: str) -> tuple[DecoderConfig, DecoderWeights]:
    checkpoint = Checkpoint.open(EMBEDDED)
    return DecoderConfig.from_transformers(checkpoint.config), load_weights(checkpoint, dtype)


def random(shape: str, dtype: str) -> tuple[DecoderConfig, DecoderWeights]:
    config = SHAPES[shape].config
    return config, fuse(random_tensors(config), config, dtype, "cpu")


def build(model: str, dtype: str, frames: int) -> HostDecoder:
    """model: "embedded", or a shape's name for random weights."""
    stored = REFERENCE if dtype == INT8 else dtype
    config, weights = embedded(stored) if model == "embedded" else random(model, stored)
    decoder = make_decoder(config, weights, dtype, frames, torch.get_num_threads())
    assert isinstance(decoder, HostDecoder)
    return decoder


def own_tokens(decoder: HostDecoder, text_states: np.ndarray, frames: int) -> np.ndarray:
    """What the decoder reads while it draws so many frames itself: tokens [T, K], delayed, the first one a pad."""
    engine = Engine(decoder, num_slots=1, max_frames=frames)
    engine.add(CodeRequest("teacher", text_states, frames, 0, SAMPLING))
    parts = []
    while not engine.idle:
        parts += [made.codes for made in engine.step()]
    delays, pad = decoder.config.delays, decoder.config.pad_token
    columns = apply_delay(np.concatenate(parts, axis=1), delays, num_steps(frames, delays), pad)
    return np.concatenate([np.full((1, len(delays)), pad), columns[:, : frames - 1].T])


def measure(model: str, frames: int) -> dict[str, dict[str, dict[str, float]]]:
    """By kind of tokens and numeric type: figures."""
    rng = np.random.default_rng(0)
    reference = build(model, REFERENCE, frames)
    config = reference.config
    text_states = rng.standard_normal((NUM_TEXT_TOKENS, config.text_width)).astype(np.float32)
    teachers = {
        "random": rng.integers(0, config.vocab_size, (frames, config.num_codebooks)),
        "own": own_tokens(reference, text_states, frames),
    }
    truth = {name: teacher_forced(reference, tokens, text_states) for name, tokens in teachers.items()}
    reference.close()
    figures: dict[str, dict[str, dict[str, float]]] = {name: {} for name in teachers}
    for dtype in COMPARED:
        decoder = build(model, dtype, frames)
        for name, tokens in teachers.items():
            logits = teacher_forced(decoder, tokens, text_states)
            figures[name][dtype] = _figures(truth[name], logits)
        decoder.close()
    return figures


def _figures(truth: torch.Tensor, logits: torch.Tensor) -> dict[str, float]:
    plain = Distance.between(truth, logits)
    drawn_from = (guided(each, SAMPLING.guidance_scale) for each in (truth, logits))
    with_guidance = Distance.between(*drawn_from)
    return {
        "kl_nats": round(plain.kl_nats, 6),
        "worst_kl_nats": round(plain.worst_kl_nats, 6),
        "top_1_agreement": round(plain.top_1_agreement, 4),
        "guided_kl_nats": round(with_guidance.kl_nats, 6),
        "guided_top_1_agreement": round(with_guidance.top_1_agreement, 4),
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench_numerics", description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=["embedded", *SHAPES], default=["embedded", "tiny"])
    parser.add_argument("--frames", type=int, default=150, help="how many tokens of each codebook are read")
    options = parser.parse_args(arguments)
    print(f"{describe('cpu')}, commit {commit()}", file=sys.stderr)
    measured = {model: measure(model, options.frames) for model in options.models}
    print(json.dumps({"frames": options.frames, "reference": REFERENCE, **measured}))


if __name__ == "__main__":
    main(sys.argv[1:])
