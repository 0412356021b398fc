"""Whether the GPU's engine is right: its kernels, its logits beside the float32 reference's, and that codes repeat."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deployments.language_model.decoder import Decoder
from deployments.language_model.engine.engine import Engine
from deployments.language_model.gpu.decoder import GpuDecoder
from deployments.language_model.model import MusicgenDecoder
from deployments.language_model.weights import fuse
from deployments.messages import CodeRequest, Sampling
from loadtests.gpu_bench import INT8, Scale, new_decoder
from loadtests.measuring.requests import code_requests
from loadtests.measuring.shapes import SHAPES, random_tensors

PARITY_SHAPE = "tiny"
NEIGHBOURS = (7, 31)
ROOT = Path(__file__).parent.parent
KERNEL_TESTS = "tests/deployments/language_model/gpu/test_kernels.py"


def kernel_tests(scale: Scale) -> dict[str, object]:
    """Each kernel on the device against plain torch, as the tests do. Dry, they are found and not run."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", KERNEL_TESTS]
    command += ["--collect-only"] if scale.device == "cpu" else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"the kernels' tests fail:\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}")
    return {"result": done.stdout.splitlines()[-1]}


def parity(scale: Scale) -> list[dict[str, object]]:
    """Beside the float32 reference on a CPU, given the same columns: KL in nats, top-1 agreement, the most apart."""
    config = SHAPES[PARITY_SHAPE].config
    # Wider than a trained model's, so that logits spread.
    tensors = {name: tensor if "norm" in name else 2 * tensor for name, tensor in random_tensors(config).items()}
    one = replace(code_requests(1, scale.exact_frames, config.text_width)[0], sampling=Sampling(guidance_scale=1.0))
    reference = MusicgenDecoder(config, fuse(tensors, config, "float32", "cpu"), scale.exact_frames + 3)
    codes = made_by(reference, [one], 1)[one.request_id][0]
    expected = forced_logits(reference, one, codes).log_softmax(-1)
    rows = []
    for dtype in dict.fromkeys(("float32", *scale.dtypes)):
        weights = fuse(tensors, config, "float32" if dtype == INT8 else dtype, scale.device)
        decoder = GpuDecoder(config, weights, dtype, scale.exact_frames + 3, max_rows=16)
        ours = forced_logits(decoder, one, codes).log_softmax(-1)
        rows.append(
            {
                "dtype": dtype,
                "kl_nats": float((expected.exp() * (expected - ours)).sum(-1).mean()),
                "top_1_agreement": float((expected.argmax(-1) == ours.argmax(-1)).float().mean()),
                "max_abs_difference": float((expected - ours).abs().max()),
                "columns": len(ours),
            }
        )
    return rows


def exactness(scale: Scale) -> list[dict[str, object]]:
    """One request alone, and the same among others or resumed: the share of its codes and logit columns that are equal,
    the latter bit for bit.
    """
    shape = scale.shapes[-1]
    frames = scale.exact_frames
    most = max(NEIGHBOURS) + 1 if scale.device == "cuda" else 3
    rows = []
    for dtype in scale.dtypes:
        decoder = new_decoder(SHAPES[shape].config, dtype, scale.device, frames, 2 * most)
        one, *others = code_requests(most, frames, decoder.config.text_width)
        codes, logits = made_by(decoder, [one], most)[one.request_id]
        for number in sorted({min(number, most - 1) for number in NEIGHBOURS}):
            together, their_logits = made_by(decoder, [*others[:number], one], most)[one.request_id]
            rows.append(_agreement(shape, dtype, f"among {number}", codes, together, logits, their_logits))
        resumed = replace(one, prompt_codes=codes[:, : frames // 2])
        rest, rest_logits = made_by(decoder, [resumed], most)[one.request_id]
        stop = frames // 2
        rows.append(_agreement(shape, dtype, "resumed", codes[:, stop:], rest, logits[stop:], rest_logits))
        again, again_logits = made_by(decoder, [one], most)[one.request_id]
        rows.append(_agreement(shape, dtype, "again", codes, again, logits, again_logits))
    return rows


def made_by(decoder: Decoder, requests: Sequence[CodeRequest], num_slots: int) -> dict[str, tuple[np.ndarray, Tensor]]:
    """Codes [K, n] and guided logits [columns, K, V] of each request, made together."""
    logits: dict[str, list[Tensor]] = {}
    codes: dict[str, list[np.ndarray]] = {}

    def observe(request_id: str, step: int, column: Tensor) -> None:
        logits.setdefault(request_id, []).append(column.float().cpu())

    longest = max(request.num_frames for request in requests)
    engine = Engine(decoder, num_slots=num_slots, max_waiting=len(requests), max_frames=longest, on_logits=observe)
    for request in requests:
        engine.add(request)
    while not engine.idle:
        for part in engine.step():
            codes.setdefault(part.request_id, []).append(part.codes)
    return {name: (np.concatenate(parts, axis=1), torch.stack(logits[name])) for name, parts in codes.items()}


def forced_logits(decoder: Decoder, one: CodeRequest, codes: np.ndarray) -> Tensor:
    """[frames - 1, K, V]: of each column after those given, whatever the decoder would have drawn."""
    resumed = [
        replace(one, request_id=str(stop), num_frames=stop + 1, prompt_codes=codes[:, :stop])
        for stop in range(1, codes.shape[1])
    ]
    made = made_by(decoder, resumed, 4)
    return torch.stack([made[request.request_id][1][0] for request in resumed])


def _agreement(
    shape: str,
    dtype: str,
    how: str,
    codes: np.ndarray,
    other_codes: np.ndarray,
    logits: Tensor,
    other_logits: Tensor,
) -> dict[str, object]:
    return {
        "shape": shape,
        "dtype": dtype,
        "how": how,
        "equal_codes": float((codes == other_codes).mean()),
        "equal_logit_columns": float((logits == other_logits).flatten(1).all(1).float().mean()),
    }
