"""A language model's tensors, fused for the forward pass and read from a checkpoint layer by layer.

q, k and v of self-attention are one product, the text keys and values of a layer another, the K heads a third.
Modules are made without memory, on torch's meta device, and filled block by block: loading takes the memory of the
weights and of one layer as the checkpoint stores it, never that of a second copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import cast, overload

import torch
from torch import Tensor, nn

from deployments.checkpoints.checkpoint import Checkpoint, check_shapes
from deployments.language_model.config import DecoderConfig

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Names of tensors in the checkpoint → those tensors, as stored.
Read = Callable[[Sequence[str]], Mapping[str, Tensor]]

_ROOT = "decoder.model.decoder"
_MATRICES = {
    "self_qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_out": ("self_attn.out_proj",),
    "cross_q": ("encoder_attn.q_proj",),
    "cross_kv": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "cross_out": ("encoder_attn.out_proj",),
    "ffn_in": ("fc1",),
    "ffn_out": ("fc2",),
}
_NORMS = {"self_norm": "self_attn_layer_norm", "cross_norm": "encoder_attn_layer_norm", "ffn_norm": "final_layer_norm"}


def frozen_parameter(tensor: Tensor) -> nn.Parameter:
    """A parameter that is never trained."""
    return nn.Parameter(tensor, requires_grad=False)


class Linear(nn.Module):
    """x float32 [M, in] → float32 [M, out]. weight: [out, in] in its own type; bias: float32 [out] or None.

    Activations stay float32 between the products, so that the type of the weights is all that a setting changes.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = frozen_parameter(weight)
        self.bias = None if bias is None else frozen_parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.dtype == torch.float32:
            return torch.nn.functional.linear(x, self.weight, self.bias)
        y = torch.nn.functional.linear(x.to(self.weight.dtype), self.weight).float()
        return y if self.bias is None else y + self.bias

    @property
    def size_bytes(self) -> int:
        return self.weight.nbytes


class LayerNorm(nn.Module):
    """weight, bias: float32 [D]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = frozen_parameter(torch.empty(width)), frozen_parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class Table(nn.Module):
    """weight: float32 [rows, D], to be indexed."""

    def __init__(self, num_rows: int, width: int) -> None:
        super().__init__()
        self.weight = frozen_parameter(torch.empty(num_rows, width))


class LayerWeights(nn.Module):
    """One layer, not yet filled. dtype: of the matrices; norms are float32."""

    def __init__(self, config: DecoderConfig, dtype: str) -> None:
        super().__init__()
        d, f = config.width, config.ffn_width
        self.self_norm = LayerNorm(d)
        self.self_qkv = _linear(d, 3 * d, dtype)
        self.self_out = _linear(d, d, dtype)
        self.cross_norm = LayerNorm(d)
        self.cross_q = _linear(d, d, dtype)
        self.cross_kv = _linear(d, 2 * d, dtype)
        self.cross_out = _linear(d, d, dtype)
        self.ffn_norm = LayerNorm(d)
        self.ffn_in = _linear(d, f, dtype)
        self.ffn_out = _linear(f, d, dtype)


class DecoderWeights(nn.Module):
    """All of it, not yet filled. embed: the K tables, one below the other; heads: one product to [K * V].

    text_projection: None where the text encoder is as wide as the decoder; transformers has none there.
    layers: other ones than the module's own, if any; they are then no part of the module.
    """

    def __init__(self, config: DecoderConfig, dtype: str, layers: Sequence[LayerWeights] | None = None) -> None:
        super().__init__()
        k, v, d = config.num_codebooks, config.vocab_size, config.width
        self.embed = Table(k * (v + 1), d)
        self.text_projection = None if config.text_width == d else _linear(config.text_width, d, dtype, bias=True)
        own_layers = nn.ModuleList([] if layers else [LayerWeights(config, dtype) for _ in range(config.num_layers)])
        self.layers = layers or cast("Sequence[LayerWeights]", own_layers)
        self.final_norm = LayerNorm(d)
        self.heads = _linear(d, k * v, dtype)

    @property
    def embedding(self) -> Tensor:
        """float32 [K * (V + 1), D]."""
        return self.embed.weight

    @property
    def step_bytes(self) -> int:
        """Bytes of weights one decoding step reads: the floor of its time is this over the memory's bandwidth."""
        per_layer = (
            linear.size_bytes
            for layer in self.layers
            for linear in (layer.self_qkv, layer.self_out, layer.cross_q, layer.cross_out, layer.ffn_in, layer.ffn_out)
        )
        return sum(per_layer) + self.heads.size_bytes


def _linear(inputs: int, outputs: int, dtype: str, *, bias: bool = False) -> Linear:
    return Linear(torch.empty(outputs, inputs, dtype=DTYPES[dtype]), torch.empty(outputs) if bias else None)


def put(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """These tensors become the module's parameters of those names."""
    for name, tensor in tensors.items():
        owner, _, own_name = name.rpartition(".")
        setattr(module.get_submodule(owner), own_name, frozen_parameter(tensor))


@dataclass(frozen=True)
class WeightSource:
    """A checkpoint's language model with the names, shapes and types of `DecoderWeights`. dtype: of the matrices."""

    config: DecoderConfig
    read: Read
    dtype: str

    def load(self, device: str = "cpu") -> DecoderWeights:
        """All of it, on one device."""
        weights = self.empty()
        for block in blocks(weights):
            put(weights, self.tensors(block, device))
        return weights

    def lazy(self, device: str = "cpu") -> DecoderWeights:
        """The same, with layers that are read each time one is taken: for a decoder that packs them."""
        with torch.device("meta"):
            weights = DecoderWeights(self.config, self.dtype, LazyLayers(self, device))
        for block in blocks(weights):
            put(weights, self.tensors(block, device))
        return weights

    def empty(self) -> DecoderWeights:
        """Everything but the values: on the meta device, without memory."""
        with torch.device("meta"):
            return DecoderWeights(self.config, self.dtype)

    def tensors(self, like: Mapping[str, Tensor], device: str, layer: str = "") -> dict[str, Tensor]:
        """Tensors of the names, shapes and types of `like`. layer: what these names begin with, left out in them."""
        origins = {name: self._origins[layer + name] for name in like}
        stored = self.read([one for those in origins.values() for one in those])
        return {name: _joined([stored[one] for one in origins[name]], like[name], device) for name in like}

    @cached_property
    def _origins(self) -> dict[str, tuple[str, ...]]:
        """Our names → the checkpoint's, whose outputs are joined in this order."""
        codebooks, kinds = range(self.config.num_codebooks), ("weight", "bias")
        origins: dict[str, tuple[str, ...]] = {
            "embed.weight": tuple(f"{_ROOT}.embed_tokens.{k}.weight" for k in codebooks),
            "heads.weight": tuple(f"decoder.lm_heads.{k}.weight" for k in codebooks),
        }
        for kind in kinds:
            origins[f"text_projection.{kind}"] = (f"enc_to_dec_proj.{kind}",)
            origins[f"final_norm.{kind}"] = (f"{_ROOT}.layer_norm.{kind}",)
        for i in range(self.config.num_layers):
            layer = f"{_ROOT}.layers.{i}"
            for ours, theirs in _MATRICES.items():
                origins[f"layers.{i}.{ours}.weight"] = tuple(f"{layer}.{each}.weight" for each in theirs)
            for ours, norm in _NORMS.items():
                for kind in kinds:
                    origins[f"layers.{i}.{ours}.{kind}"] = (f"{layer}.{norm}.{kind}",)
        return origins


class LazyLayers(Sequence[LayerWeights]):
    """Layers that are in memory only while they are referenced."""

    def __init__(self, source: WeightSource, device: str) -> None:
        self._source = source
        self._device = device

    def __len__(self) -> int:
        return self._source.config.num_layers

    @overload
    def __getitem__(self, index: int) -> LayerWeights: ...

    @overload
    def __getitem__(self, index: slice) -> list[LayerWeights]: ...

    def __getitem__(self, index: int | slice) -> LayerWeights | list[LayerWeights]:
        numbers = range(len(self))[index]
        if isinstance(numbers, range):
            return [self[i] for i in numbers]
        with torch.device("meta"):
            layer = LayerWeights(self._source.config, self._source.dtype)
        put(layer, self._source.tensors(layer.state_dict(), self._device, layer=f"layers.{numbers}."))
        return layer


def blocks(weights: DecoderWeights) -> Iterator[dict[str, Tensor]]:
    """The module's tensors by name, in the portions they are read in: each layer, and each thing beside the layers."""
    for _, block in groupby(weights.state_dict().items(), key=lambda item: block_of(item[0])):
        yield dict(block)


def block_of(name: str) -> str:
    """`layers.3.self_qkv.weight` → `layers.3`; `heads.weight` → `heads`."""
    parts = name.split(".")
    return ".".join(parts[: 2 if parts[0] == "layers" else 1])


def _joined(parts: Sequence[Tensor], like: Tensor, device: str) -> Tensor:
    joined = torch.empty_like(like, device=device)
    for rows, part in zip(torch.split(joined, [len(part) for part in parts]), parts, strict=True):
        rows.copy_(part)
    return joined


def expected_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the part "language_model", by its name in transformers' format."""
    d, f, v = config.width, config.ffn_width, config.vocab_size
    shapes: dict[str, tuple[int, ...]] = {}
    if config.text_width != d:
        shapes["enc_to_dec_proj.weight"] = (d, config.text_width)
        shapes["enc_to_dec_proj.bias"] = (d,)
    for k in range(config.num_codebooks):
        shapes[f"{_ROOT}.embed_tokens.{k}.weight"] = (v + 1, d)
        shapes[f"decoder.lm_heads.{k}.weight"] = (v, d)
    norms = [f"{_ROOT}.layer_norm"]
    for i in range(config.num_layers):
        layer = f"{_ROOT}.layers.{i}"
        norms += [f"{layer}.{norm}" for norm in _NORMS.values()]
        for attention in ("self_attn", "encoder_attn"):
            for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
                shapes[f"{layer}.{attention}.{projection}.weight"] = (d, d)
        shapes[f"{layer}.fc1.weight"] = (f, d)
        shapes[f"{layer}.fc2.weight"] = (d, f)
    for norm in norms:
        shapes[f"{norm}.weight"] = shapes[f"{norm}.bias"] = (d,)
    return shapes


def weight_source(checkpoint: Checkpoint, dtype: str) -> WeightSource:
    """Raises: CheckpointError naming every tensor that is missing, unexpected, or of another shape."""
    config = DecoderConfig.from_transformers(checkpoint.config)
    reader = checkpoint.language_model_reader()
    check_shapes(reader.shapes, expected_shapes(config), "language_model")
    return WeightSource(config, reader.read, dtype)


def load_weights(checkpoint: Checkpoint, dtype: str = "float32", device: str = "cpu") -> DecoderWeights:
    """Raises: CheckpointError, as `weight_source`."""
    return weight_source(checkpoint, dtype).load(device)


def fuse(tensors: Mapping[str, Tensor], config: DecoderConfig, dtype: str, device: str) -> DecoderWeights:
    """The weights of tensors in memory, by the names of `expected_shapes`. dtype: of the matrices."""
    return WeightSource(config, lambda names: {name: tensors[name] for name in names}, dtype).load(device)
