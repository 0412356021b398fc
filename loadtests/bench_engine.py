"""The engine beside transformers' `generate`, on the same random weights and threads, one after the other.

    .venv/bin/python -m loadtests.bench_engine --shape small --requests 1 --frames 100 --peer-dtype float32

Every request has guidance 3, temperature 1 and top_k 250. The peer makes all requests in one batch. A step is one
column of codes for every request. The floor is the time the memory needs to hand over, once, the weights that one
step reads. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from transformers import (
    EncodecConfig,
    EncodecModel,
    MusicgenForCausalLM,
    MusicgenForConditionalGeneration,
    T5EncoderModel,
)
from transformers.initialization import no_init_weights
from transformers.utils import logging as transformers_logging

from deployments.language_model.delay import num_steps
from deployments.language_model.engine import Engine
from deployments.language_model.linear import DTYPES
from deployments.language_model.loading import INT8, fastest_dtype, make_decoder, set_torch_threads
from deployments.language_model.warm_up import warm_up
from deployments.language_model.weights import fuse
from deployments.messages import CodeRequest, Sampling
from loadtests.hardware import commit, describe, now, read_bandwidth
from loadtests.shapes import SHAPES, DecoderShape, random_tensors

FRAME_RATE = 50
NUM_TEXT_TOKENS = 12
WARM_UP_FRAMES = 4


def time_engine(engine: Engine, device: str, requests: int, frames: int) -> float:
    """Seconds for all requests, admitted together."""
    rng = np.random.default_rng(0)
    for i in range(requests):
        states = rng.standard_normal((NUM_TEXT_TOKENS, engine.config.text_width)).astype(np.float32)
        engine.add(CodeRequest(f"request-{i}", states, frames, i, Sampling()))
    started = now(device)
    while not engine.idle:
        engine.step()
    return now(device) - started


def build_peer(
    shape: DecoderShape, tensors: Mapping[str, Tensor], dtype: str, device: str
) -> MusicgenForConditionalGeneration:
    """transformers' model with our tensors; its codec is as small as can be, since sound is not measured here."""
    codec = EncodecConfig(
        sampling_rate=4 * FRAME_RATE,
        upsampling_ratios=[2, 2],
        target_bandwidths=[2.2],
        codebook_size=2048,
        num_filters=2,
        hidden_size=4,
    )
    text_encoder = T5EncoderModel(shape.transformers_text_encoder)
    with no_init_weights():
        decoder = MusicgenForCausalLM(shape.transformers_decoder)
    model = MusicgenForConditionalGeneration(
        text_encoder=text_encoder, audio_encoder=EncodecModel(codec), decoder=decoder
    )
    missing = model.load_state_dict(dict(tensors), strict=False, assign=True).missing_keys
    left = [name for name in missing if name.startswith(("decoder.", "enc_to_dec_proj."))]
    assert not left, f"the peer lacks {left}"
    return model.to(device, DTYPES[dtype]).eval()


@torch.inference_mode()
def time_peer(model: MusicgenForConditionalGeneration, requests: int, frames: int) -> float:
    """Seconds of the decoding loop of one batch of all requests; text encoder and codec are left out."""
    device, steps = str(model.device), num_steps(frames, (0, 1, 2, 3))
    spent: list[float] = []
    sample = model._sample

    def timed(*args: object, **options: object) -> object:
        started = now(device)
        result = sample(*args, **options)
        spent.append(now(device) - started)
        return result

    model._sample = timed
    ids = torch.ones(requests, NUM_TEXT_TOKENS, dtype=torch.long, device=device)
    model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        guidance_scale=3.0,
        top_k=250,
        max_length=steps + 1,
    )
    model._sample = sample
    return spent[0]


def run(options: argparse.Namespace) -> dict[str, object]:
    """Measures both; the figures of the last line."""
    if options.threads:
        torch.set_num_threads(options.threads)
    shape = SHAPES[options.shape]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"{describe(device)}, commit {commit()}", file=sys.stderr)
    tensors = random_tensors(shape.config)
    dtype = options.weights or fastest_dtype(shape.config, device)
    weights = fuse(tensors, shape.config, "float32" if dtype == INT8 else dtype, device)
    num_threads = torch.get_num_threads()
    decoder = make_decoder(shape.config, weights, dtype, options.frames, num_threads)
    set_torch_threads(dtype, num_threads)
    del weights
    engine = Engine(decoder, num_slots=options.requests, max_frames=options.frames)
    warm_up(engine)
    steps = num_steps(options.frames, shape.config.delays)
    ours_s = min(time_engine(engine, device, options.requests, options.frames) for _ in range(options.repeats))
    floor_s = decoder.step_bytes / read_bandwidth(device)
    decoder.close()
    torch.set_num_threads(num_threads)
    del engine, decoder
    peer = build_peer(shape, tensors, options.peer_dtype, device)
    del tensors
    time_peer(peer, options.requests, WARM_UP_FRAMES)
    peer_s = min(time_peer(peer, options.requests, options.frames) for _ in range(options.repeats))
    audio_s = options.requests * options.frames / FRAME_RATE
    figures: dict[str, object] = {
        "shape": options.shape,
        "device": device,
        "threads": torch.get_num_threads(),
        "dtype": dtype,
        "requests": options.requests,
        "frames": options.frames,
        "ms_per_step": round(1000 * ours_s / steps, 3),
        "audio_s_per_s": round(audio_s / ours_s, 3),
        "peer": "transformers generate",
        "peer_dtype": options.peer_dtype,
        "peer_ms_per_step": round(1000 * peer_s / steps, 3),
        "peer_audio_s_per_s": round(audio_s / peer_s, 3),
        "ratio": round(peer_s / ours_s, 3),
        "floor_ms_per_step": round(1000 * floor_s, 3),
    }
    return figures


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench_engine", description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--requests", type=int, default=1, help="at once")
    parser.add_argument("--frames", type=int, default=100, help="of each; 50 a second")
    parser.add_argument("--weights", choices=[INT8, *DTYPES], help="ours; by default what the service would choose")
    parser.add_argument("--peer-dtype", choices=DTYPES, default="float32")
    parser.add_argument("--threads", type=int, help="of torch, for both; its own choice by default")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each, of which the fastest counts")
    transformers_logging.set_verbosity_error()
    print(json.dumps(run(parser.parse_args(arguments))))


if __name__ == "__main__":
    main(sys.argv[1:])
