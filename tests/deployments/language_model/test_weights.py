"""Weights on their way from a checkpoint: every tensor arrives, fused, and no layer is held longer than wanted."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from deployments.language_model.config import DecoderConfig
from deployments.language_model.weights import (
    DecoderWeights,
    WeightSource,
    block_of,
    blocks,
    expected_shapes,
    fuse,
)
from tests.deployments.language_model.random_decoder import CONFIG


def stored(config: DecoderConfig) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in expected_shapes(config).items()}


class Reading:
    """A checkpoint in memory that records what was read."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors
        self.calls: list[Sequence[str]] = []

    def __call__(self, names: Sequence[str]) -> Mapping[str, Tensor]:
        self.calls.append(names)
        return {name: self.tensors[name].clone() for name in names}


def joined(tensors: Mapping[str, Tensor], *names: str) -> Tensor:
    return torch.cat([tensors[name] for name in names])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fused_matrices_are_the_stored_ones_one_below_the_other(dtype: str) -> None:
    tensors = stored(CONFIG)
    weights = fuse(tensors, CONFIG, dtype, "cpu")
    root = "decoder.model.decoder"
    layer, name = weights.layers[1], f"{root}.layers.1"
    expected = {
        layer.self_qkv.weight: joined(tensors, *(f"{name}.self_attn.{p}_proj.weight" for p in "qkv")),
        layer.self_out.weight: tensors[f"{name}.self_attn.out_proj.weight"],
        layer.cross_q.weight: tensors[f"{name}.encoder_attn.q_proj.weight"],
        layer.cross_kv.weight: joined(tensors, *(f"{name}.encoder_attn.{p}_proj.weight" for p in "kv")),
        layer.cross_out.weight: tensors[f"{name}.encoder_attn.out_proj.weight"],
        layer.ffn_in.weight: tensors[f"{name}.fc1.weight"],
        layer.ffn_out.weight: tensors[f"{name}.fc2.weight"],
        weights.heads.weight: joined(tensors, *(f"decoder.lm_heads.{k}.weight" for k in range(4))),
    }
    for found, matrix in expected.items():
        assert torch.equal(found, matrix.to(getattr(torch, dtype)))
    floats = {
        weights.embedding: joined(tensors, *(f"{root}.embed_tokens.{k}.weight" for k in range(4))),
        layer.self_norm.weight: tensors[f"{name}.self_attn_layer_norm.weight"],
        layer.cross_norm.bias: tensors[f"{name}.encoder_attn_layer_norm.bias"],
        layer.ffn_norm.weight: tensors[f"{name}.final_layer_norm.weight"],
        weights.final_norm.bias: tensors[f"{root}.layer_norm.bias"],
    }
    for found, tensor in floats.items():
        assert torch.equal(found, tensor)
    assert weights.text_projection is not None
    assert torch.equal(weights.text_projection.bias, tensors["enc_to_dec_proj.bias"])


@pytest.mark.parametrize("text_width", [48, CONFIG.width])
def test_every_stored_tensor_is_read_once_and_has_its_place(text_width: int) -> None:
    config = replace(CONFIG, text_width=text_width)
    read = Reading(stored(config))
    weights = WeightSource(config, read, "float32").load()
    names_read = [name for names in read.calls for name in names]
    assert sorted(names_read) == sorted(expected_shapes(config))
    held = sum(tensor.numel() for tensor in weights.state_dict().values())
    assert held == sum(math.prod(shape) for shape in expected_shapes(config).values())
    assert not any(tensor.is_meta for tensor in weights.state_dict().values())


def test_a_layer_is_read_at_a_time() -> None:
    read = Reading(stored(CONFIG))
    source = WeightSource(CONFIG, read, "float32")
    source.load()
    names = [block_of(next(iter(block))) for block in blocks(source.empty())]
    assert names == ["embed", "text_projection", "layers.0", "layers.1", "final_norm", "heads"]
    assert len(read.calls) == len(names)


def test_an_empty_module_takes_no_memory() -> None:
    assert all(tensor.is_meta for tensor in WeightSource(CONFIG, Reading({}), "bfloat16").empty().state_dict().values())


def equal(one: DecoderWeights, other: DecoderWeights) -> bool:
    first, second = (
        [tensor for layer in weights.layers for tensor in layer.state_dict().values()] for weights in (one, other)
    )
    return all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


def test_lazy_layers_are_the_same_and_nobody_else_holds_them() -> None:
    read = Reading(stored(CONFIG))
    lazy = WeightSource(CONFIG, read, "float32").lazy()
    assert not any("layers" in name for names in read.calls for name in names if ".layer_norm" not in name)
    assert equal(lazy, fuse(read.tensors, CONFIG, "float32", "cpu"))
    assert len(lazy.layers) == 2
    assert [type(layer) for layer in lazy.layers[:1]] == [type(lazy.layers[0])]
    with pytest.raises(IndexError):
        lazy.layers[2]
    taken = weakref.ref(lazy.layers[-1])
    gc.collect()
    assert taken() is None
