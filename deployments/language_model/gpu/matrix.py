"""The weights of a product as the device reads them, and how a product is cut into programs.

Its shape alone decides that, so that a row's sums are the same in every step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deployments.language_model.weights import DecoderWeights, LayerNorm

ROWS = 16  # of one program: the least that a matrix unit takes


@dataclass(frozen=True)
class Tile:
    """outputs, inputs: of the weights that a program reads at a time. warps, stages: of its pipeline."""

    outputs: int
    inputs: int
    warps: int
    stages: int


def tile_of(num_outputs: int, num_inputs: int) -> Tile:
    """Programs enough for every multiprocessor of a large GPU, each with some tens of kilobytes under way.

    Raises: ValueError for a shape the kernels don't have.
    """
    if num_outputs % 16 or num_inputs % 16:
        raise ValueError(f"a product of {num_inputs} to {num_outputs} is not one of multiples of 16")
    outputs = 32 if num_outputs >= 8192 and num_outputs % 32 == 0 else 16
    return Tile(outputs, largest_power_of_two(num_inputs, 256), warps=4, stages=4)


def largest_power_of_two(number: int, most: int) -> int:
    """That divides the number, and is at most `most`."""
    return min(number & -number, most)


INT8 = "int8"
_LARGEST = 127


@dataclass(frozen=True)
class Matrix:
    """weight: [out, in], bfloat16, float32 or int8; scales: float32 [out] of int8, else None.

    An int8 product is that of the integers, exact in the activations' type, times its output's scale.
    """

    weight: Tensor
    scales: Tensor | None = None

    @property
    def size_bytes(self) -> int:
        return self.weight.nbytes + (0 if self.scales is None else self.scales.nbytes)

    @classmethod
    def of(cls, weight: Tensor, dtype: str) -> Matrix:
        """dtype: int8, else the weight stays as it is."""
        if dtype != INT8:
            return cls(weight)
        full = weight.float()
        scales = full.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / _LARGEST
        return cls((full / scales[:, None]).round().to(torch.int8), scales)


@dataclass(frozen=True)
class Norm:
    """weight, bias: float32 [D]."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, norm: LayerNorm) -> Norm:
        return cls(norm.weight.detach(), norm.bias.detach())


@dataclass(frozen=True)
class LayerMatrices:
    """One layer, without the products of the text: they are made once for a request."""

    self_norm: Norm
    self_qkv: Matrix
    self_out: Matrix
    cross_norm: Norm
    cross_q: Matrix
    cross_out: Matrix
    ffn_norm: Norm
    ffn_in: Matrix
    ffn_out: Matrix

    @property
    def size_bytes(self) -> int:
        products = (self.self_qkv, self.self_out, self.cross_q, self.cross_out, self.ffn_in, self.ffn_out)
        return sum(matrix.size_bytes for matrix in products)


@dataclass(frozen=True)
class Matrices:
    """text_kv: [D, layers · 2 · D], the text's keys and values of all layers in one product; bfloat16 beside 8 bits.

    text_projection: its weight [D, D_text] and bias [D], or None. embedding: float32 [K · (V + 1), D].
    """

    layers: tuple[LayerMatrices, ...]
    heads: Matrix
    final_norm: Norm
    embedding: Tensor
    text_projection: tuple[Tensor, Tensor] | None
    text_kv: Tensor

    @property
    def step_bytes(self) -> int:
        """That one decoding step reads."""
        return sum(layer.size_bytes for layer in self.layers) + self.heads.size_bytes

    @classmethod
    def of(cls, weights: DecoderWeights, dtype: str) -> Matrices:
        """Layers are taken one at a time, each once: with lazy ones there is never a second copy of more than one."""
        layers, text_kv = [], []
        for layer in weights.layers:
            layers.append(
                LayerMatrices(
                    self_norm=Norm.of(layer.self_norm),
                    self_qkv=Matrix.of(layer.self_qkv.weight.detach(), dtype),
                    self_out=Matrix.of(layer.self_out.weight.detach(), dtype),
                    cross_norm=Norm.of(layer.cross_norm),
                    cross_q=Matrix.of(layer.cross_q.weight.detach(), dtype),
                    cross_out=Matrix.of(layer.cross_out.weight.detach(), dtype),
                    ffn_norm=Norm.of(layer.ffn_norm),
                    ffn_in=Matrix.of(layer.ffn_in.weight.detach(), dtype),
                    ffn_out=Matrix.of(layer.ffn_out.weight.detach(), dtype),
                )
            )
            text_weight = layer.cross_kv.weight.detach()
            text_kv.append((text_weight.bfloat16() if dtype == INT8 else text_weight).T)
        projection = weights.text_projection
        text_projection = None
        if projection is not None and projection.bias is not None:
            text_projection = projection.weight.detach(), projection.bias.detach()
        return cls(
            layers=tuple(layers),
            heads=Matrix.of(weights.heads.weight.detach(), dtype),
            final_norm=Norm.of(weights.final_norm),
            embedding=weights.embedding.detach(),
            text_projection=text_projection,
            text_kv=torch.cat(text_kv, 1),
        )
