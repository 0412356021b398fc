"""A checkpoint's language-model tensors, fused for the forward pass.

q, k and v of self-attention are one product, the text keys and values of all layers another, the K heads a third.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from deployments.checkpoints.checkpoint import Checkpoint, check_tensors
from deployments.language_model.config import DecoderConfig
from deployments.language_model.linear import DTYPES, Linear


@dataclass(frozen=True)
class LayerNorm:
    """weight, bias: float32 [D]."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return torch.nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


@dataclass(frozen=True)
class LayerWeights:
    self_norm: LayerNorm
    self_qkv: Linear
    self_out: Linear
    cross_norm: LayerNorm
    cross_q: Linear
    cross_kv: Linear
    cross_out: Linear
    ffn_norm: LayerNorm
    ffn_in: Linear
    ffn_out: Linear


@dataclass(frozen=True)
class DecoderWeights:
    """embedding: float32 [K * (V + 1), D]; heads: one product to [K * V].

    text_projection: None where the text encoder is as wide as the decoder; transformers has none there.
    """

    embedding: Tensor
    text_projection: Linear | None
    layers: tuple[LayerWeights, ...]
    final_norm: LayerNorm
    heads: Linear

    @property
    def step_bytes(self) -> int:
        """Bytes of weights one decoding step reads: the floor of its time is this over the memory's bandwidth."""
        per_layer = (
            linear.size_bytes
            for layer in self.layers
            for linear in (layer.self_qkv, layer.self_out, layer.cross_q, layer.cross_out, layer.ffn_in, layer.ffn_out)
        )
        return sum(per_layer) + self.heads.size_bytes


def expected_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the part "language_model", by its name in transformers' format."""
    d, f, v = config.width, config.ffn_width, config.vocab_size
    shapes: dict[str, tuple[int, ...]] = {}
    if config.text_width != d:
        shapes["enc_to_dec_proj.weight"] = (d, config.text_width)
        shapes["enc_to_dec_proj.bias"] = (d,)
    for k in range(config.num_codebooks):
        shapes[f"decoder.model.decoder.embed_tokens.{k}.weight"] = (v + 1, d)
        shapes[f"decoder.lm_heads.{k}.weight"] = (v, d)
    norms = ["decoder.model.decoder.layer_norm"]
    for i in range(config.num_layers):
        layer = f"decoder.model.decoder.layers.{i}"
        norms += [f"{layer}.{norm}" for norm in ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm")]
        for attention in ("self_attn", "encoder_attn"):
            for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
                shapes[f"{layer}.{attention}.{projection}.weight"] = (d, d)
        shapes[f"{layer}.fc1.weight"] = (f, d)
        shapes[f"{layer}.fc2.weight"] = (d, f)
    for norm in norms:
        shapes[f"{norm}.weight"] = shapes[f"{norm}.bias"] = (d,)
    return shapes


def load_weights(checkpoint: Checkpoint, dtype: str = "float32", device: str = "cpu") -> DecoderWeights:
    """Raises: CheckpointError naming every tensor that is missing, unexpected, or of another shape."""
    config = DecoderConfig.from_transformers(checkpoint.config)
    tensors = checkpoint.tensors("language_model")
    check_tensors(tensors, expected_shapes(config), "language_model")
    return fuse(tensors, config, dtype, device)


def fuse(tensors: Mapping[str, Tensor], config: DecoderConfig, dtype: str, device: str) -> DecoderWeights:
    """tensors: by the names of `expected_shapes`. dtype: of the matrices; norms and biases stay float32."""

    def matrix(*names: str) -> Linear:
        parts = [tensors[f"{name}.weight"] for name in names]
        return Linear(torch.cat([part.to(device, DTYPES[dtype]) for part in parts]).contiguous())

    def norm(name: str) -> LayerNorm:
        weight, bias = (tensors[f"{name}.{kind}"].to(device, torch.float32) for kind in ("weight", "bias"))
        return LayerNorm(weight, bias)

    def layer(name: str) -> LayerWeights:
        self_attn, cross_attn = f"{name}.self_attn", f"{name}.encoder_attn"
        return LayerWeights(
            self_norm=norm(f"{name}.self_attn_layer_norm"),
            self_qkv=matrix(*(f"{self_attn}.{p}_proj" for p in "qkv")),
            self_out=matrix(f"{self_attn}.out_proj"),
            cross_norm=norm(f"{name}.encoder_attn_layer_norm"),
            cross_q=matrix(f"{cross_attn}.q_proj"),
            cross_kv=matrix(*(f"{cross_attn}.{p}_proj" for p in "kv")),
            cross_out=matrix(f"{cross_attn}.out_proj"),
            ffn_norm=norm(f"{name}.final_layer_norm"),
            ffn_in=matrix(f"{name}.fc1"),
            ffn_out=matrix(f"{name}.fc2"),
        )

    projection = None
    if "enc_to_dec_proj.weight" in tensors:
        bias = tensors["enc_to_dec_proj.bias"].to(device, torch.float32)
        projection = Linear(matrix("enc_to_dec_proj").weight, bias)
    root, codebooks = "decoder.model.decoder", range(config.num_codebooks)
    embedding = torch.cat([tensors[f"{root}.embed_tokens.{k}.weight"].to(device, torch.float32) for k in codebooks])
    return DecoderWeights(
        embedding=embedding.contiguous(),
        text_projection=projection,
        layers=tuple(layer(f"{root}.layers.{i}") for i in range(config.num_layers)),
        final_norm=norm(f"{root}.layer_norm"),
        heads=matrix(*(f"decoder.lm_heads.{k}" for k in codebooks)),
    )
