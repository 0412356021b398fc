"""The codec decoder beside transformers' `EncodecModel.decode`, on the same weights and threads, one after the other.

    .venv/bin/python -m loadtests.bench_codec --filters 64 --seconds 10 --threads 1

Ours decodes window by window, as the service does; the peer the whole clip in one run. Weights are random, of
MusicGen's shape: 64 filters is the published codec, 16 the embedded one. The two take turns, and the fastest run of
each counts. first_window_ms: of the first sound of a stream. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import EncodecConfig, EncodecModel
from transformers.utils import logging as transformers_logging

from deployments.checkpoints.tensor_files import fuse_weight_norm
from deployments.codec_decoder.codec import Codec, decode, decode_window
from deployments.codec_decoder.windows import FIRST_FRAMES
from deployments.messages import CodeWindow
from loadtests.measuring.hardware import commit, describe


def build(num_filters: int) -> tuple[Codec, EncodecModel]:
    """Both codecs, of the same random weights."""
    torch.manual_seed(0)
    config = EncodecConfig(
        sampling_rate=32_000,
        target_bandwidths=[2.2],
        upsampling_ratios=[8, 5, 4, 4],
        num_filters=num_filters,
        hidden_size=128,
        codebook_size=2048,
        use_causal_conv=False,
        use_conv_shortcut=False,
    )
    peer = EncodecModel(config).eval()
    for quantizer in peer.quantizer.layers:
        quantizer.codebook.embed.normal_()
    tensors = {
        name: tensor
        for name, tensor in fuse_weight_norm(peer.state_dict()).items()
        if name.startswith("decoder.") or name.endswith(".embed")
    }
    return Codec(config, tensors, num_codebooks=config.num_quantizers), peer


def fastest_s(functions: list[Callable[[], object]], repeats: int) -> list[float]:
    """The functions take turns, so that what disturbs one disturbs the others."""
    best = [float("inf")] * len(functions)
    for _ in range(repeats + 1):  # the first of each warms up
        for i, function in enumerate(functions):
            began_s = time.perf_counter()
            function()
            best[i] = min(best[i], time.perf_counter() - began_s)
    return best


@torch.inference_mode()
def run(options: argparse.Namespace) -> dict[str, object]:
    """Measures both; the figures of the last line."""
    if options.threads:
        torch.set_num_threads(options.threads)
    print(f"{describe('cpu')}, commit {commit()}", file=sys.stderr)
    codec, peer = build(options.filters)
    shape = (codec.num_codebooks, round(options.seconds * codec.frame_rate))
    codes = np.random.default_rng(0).integers(0, codec.codebook_size, shape).astype(np.int16)
    peer_codes = torch.from_numpy(codes.astype(np.int64))[None, None]
    first = CodeWindow(codes[:, : FIRST_FRAMES + codec.lookahead], FIRST_FRAMES)

    def ours() -> np.ndarray:
        return decode(codec, codes)

    def theirs() -> np.ndarray:
        sound: np.ndarray = peer.decode(peer_codes, [None]).audio_values[0].numpy()
        return sound

    difference = float(np.abs(ours() - theirs()).max())
    ours_s, peer_s, first_s = fastest_s([ours, theirs, lambda: decode_window(codec, first)], options.repeats)
    return {
        "filters": options.filters,
        "seconds": options.seconds,
        "threads": torch.get_num_threads(),
        "audio_s_per_s": round(options.seconds / ours_s, 3),
        "peer": "transformers EncodecModel.decode",
        "peer_audio_s_per_s": round(options.seconds / peer_s, 3),
        "ratio": round(peer_s / ours_s, 3),
        "first_window_ms": round(1000 * first_s, 2),
        "max_abs_diff": difference,
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench_codec", description=__doc__.splitlines()[0])
    parser.add_argument("--filters", type=int, default=64, help="64: the published codec; 16: the embedded one")
    parser.add_argument("--seconds", type=float, default=10, help="of the clip")
    parser.add_argument("--threads", type=int, help="of torch, for both; its own choice by default")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each, of which the fastest counts")
    transformers_logging.set_verbosity_error()
    print(json.dumps(run(parser.parse_args(arguments))))


if __name__ == "__main__":
    main(sys.argv[1:])
