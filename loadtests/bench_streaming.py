"""How soon sound comes out of a running service, and whether it then keeps coming; and how exact a streamed clip is.

    .venv/bin/python -m loadtests.bench_streaming --seconds 10 --repeats 5

Starts the service of --config and requests one clip after another through HTTP, each as a stream of pcm; then the last
one as a whole from /v1/music. Then it makes clips of the same length with the embedded model in one process,
without Ray and HTTP. Last, window by window, it decodes random codes by the embedded codec, and all of them at once by
transformers' `EncodecModel`, on the same weights. The last line is JSON; seconds are medians of the repeats:

first_audio_s: from sending the request to the first samples. whole_clip_s: to the last. in_process_…: the same without
Ray and HTTP. max_gap_s: the longest a player that begins with the first samples has to wait for the next.
pcm_max_abs_diff: between the two decodings, where full scale is 1. whole_answer_max_abs_diff: between the streamed clip
and the whole answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import torch
from transformers import MusicgenForConditionalGeneration
from transformers.utils import logging as transformers_logging

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.codec_decoder.codec import Codec, decode
from loadtests.measuring.hardware import commit, describe
from loadtests.measuring.in_process import in_process
from loadtests.measuring.running import free_port
from serve_app.cli.options import DEFAULT_CONFIG
from serve_app.launcher.guardian import Guardian
from serve_app.launcher.service import Service

EMBEDDED = Path("etude/checkpoint")
PROMPT = "a calm piano melody over soft strings"


@dataclass(frozen=True)
class Arrivals:
    """How much sound had come at which time. times_s: since the request. audio_s: seconds of sound by then."""

    times_s: Sequence[float]
    audio_s: Sequence[float]
    pcm: bytes

    @property
    def max_gap_s(self) -> float:
        """The longest wait of a player that begins with the first samples and goes on where it had to wait."""
        longest, plays_until_s = 0.0, self.times_s[0] + self.audio_s[0]
        for i in range(1, len(self.times_s)):
            wait_s = max(0.0, self.times_s[i] - plays_until_s)
            longest = max(longest, wait_s)
            plays_until_s += wait_s + self.audio_s[i] - self.audio_s[i - 1]
        return longest


def stream_clip(client: httpx.Client, body: dict[str, object]) -> Arrivals:
    """One clip, streamed."""
    times_s, audio_s, pcm = [], [], bytearray()
    began_s = time.perf_counter()
    with client.stream("POST", "/v1/music/stream?output_format=pcm", json=body) as answer:
        answer.raise_for_status()
        bytes_per_s = 2 * int(answer.headers["X-Channels"]) * int(answer.headers["X-Sample-Rate"])
        for piece in answer.iter_raw():
            pcm += piece
            times_s.append(time.perf_counter() - began_s)
            audio_s.append(len(pcm) / bytes_per_s)
    return Arrivals(times_s, audio_s, bytes(pcm))


def measure_service(config: Path, seconds: float, repeats: int) -> dict[str, object]:
    """The service's figures, from its start to its end."""
    folder = Path(tempfile.mkdtemp(prefix="musicgen-", dir="/tmp"))  # Ray's sockets want a short path
    with Guardian(folder, None) as guardian:
        service = Service(config, free_port(), round(1000 * seconds), folder, guardian.environment)
        url = service.wait_until_ready(lambda step: print(step, file=sys.stderr))
        with httpx.Client(base_url=url, trust_env=False, timeout=None) as client:  # noqa: S113 - as long as it takes
            body = {"prompt": PROMPT, "music_length_ms": round(1000 * seconds), "seed": 0, "cache": "off"}
            stream_clip(client, {**body, "music_length_ms": 1000})
            runs = [stream_clip(client, {**body, "seed": seed}) for seed in range(repeats)]
            whole = client.post("/v1/music?output_format=pcm", json={**body, "seed": repeats - 1}).content
    first_audio_s = statistics.median(run.times_s[0] for run in runs)
    whole_clip_s = statistics.median(run.times_s[-1] for run in runs)
    return {
        "seconds": seconds,
        "repeats": repeats,
        "first_audio_s": round(first_audio_s, 4),
        "whole_clip_s": round(whole_clip_s, 4),
        "first_audio_share": round(first_audio_s / whole_clip_s, 4),
        "real_time_factor": round(whole_clip_s / seconds, 4),
        "max_gap_s": round(statistics.median(run.max_gap_s for run in runs), 4),
        "whole_answer_max_abs_diff": _max_difference(_samples(runs[-1].pcm), _samples(whole)),
    }


def measure_in_process(seconds: float, repeats: int) -> dict[str, object]:
    """The embedded model's figures without a service."""

    async def clips() -> list[list[float]]:
        await here.arrivals_s(PROMPT, 1000, seed=0)
        return [await here.arrivals_s(PROMPT, duration_ms, seed) for seed in range(repeats)]

    duration_ms = round(1000 * seconds)
    with in_process(EMBEDDED, duration_ms) as here:
        runs = asyncio.run(clips())
    return {
        "in_process_first_audio_s": round(statistics.median(run[0] for run in runs), 4),
        "in_process_whole_clip_s": round(statistics.median(run[-1] for run in runs), 4),
    }


@torch.inference_mode()
def pcm_difference(seconds: float) -> float:
    """The embedded codec, window by window, against transformers' in one run; random codes."""
    codec = Codec.from_checkpoint(Checkpoint.open(EMBEDDED))
    peer = MusicgenForConditionalGeneration.from_pretrained(EMBEDDED, dtype=torch.float32).audio_encoder.eval()
    shape = (codec.num_codebooks, round(seconds * codec.frame_rate))
    codes = np.random.default_rng(0).integers(0, codec.codebook_size, shape).astype(np.int16)
    theirs = peer.decode(torch.from_numpy(codes.astype(np.int64))[None, None], [None]).audio_values[0].numpy()
    return _max_difference(decode(codec, codes), theirs)


def _samples(pcm: bytes) -> np.ndarray:
    return np.frombuffer(pcm, "<i2").astype(np.float32) / 32768


def _max_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max())


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench_streaming", description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="the deploy file to serve")
    parser.add_argument("--seconds", type=float, default=10, help="of each clip")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    print(f"{describe('cpu')}, commit {commit()}", file=sys.stderr)
    figures = measure_service(options.config, options.seconds, options.repeats)
    figures |= measure_in_process(options.seconds, options.repeats)
    print(json.dumps({**figures, "pcm_max_abs_diff": pcm_difference(options.seconds)}))


if __name__ == "__main__":
    main(sys.argv[1:])
