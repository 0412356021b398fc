"""transformers' MusicGen with our tensors: the peer of every benchmark of the language model."""

from __future__ import annotations

from collections.abc import Mapping

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

from deployments.language_model.engine.request import num_steps
from deployments.language_model.weights import DTYPES
from loadtests.measuring.hardware import now
from loadtests.measuring.requests import FRAME_RATE, NUM_TEXT_TOKENS
from loadtests.measuring.shapes import VOCAB_SIZE, DecoderShape

PEER = "transformers generate"


def build_peer(
    shape: DecoderShape, tensors: Mapping[str, Tensor], dtype: str, device: str
) -> MusicgenForConditionalGeneration:
    """transformers' model with our tensors; its codec is as small as can be, since sound is not measured here."""
    codec = EncodecConfig(
        sampling_rate=4 * FRAME_RATE,
        upsampling_ratios=[2, 2],
        target_bandwidths=[2.2],
        codebook_size=VOCAB_SIZE,
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
