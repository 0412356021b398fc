"""The MusicGen decoder in plain torch (a `decoder.HostDecoder`), its cache of keys and values, and its row counts.

Structure (audiocraft's StreamingTransformer as transformers writes it): sum of K embeddings + sinusoidal position;
per layer pre-norm self-attention, cross-attention to the text, feed-forward; a final norm; K heads as one product.

A row's bits must not depend on how many rows there are, but a matrix product's kernel may change with their number,
and with it the last bits. So rows are padded to counts that were seen to agree on this machine, for these weights, with
so many threads. Measured on x86 with MKL and oneDNN: float32 agrees at multiples of 8, bfloat16 at every count from 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import gelu, relu, scaled_dot_product_attention

from deployments.language_model.config import DecoderConfig
from deployments.language_model.engine.sampler import Draw, SamplingBatch, guide, sample
from deployments.language_model.engine.step import Rows
from deployments.language_model.weights import DecoderWeights

BRANCHES = 2  # with the text, and without it (guidance)
MAX_ROWS = 64
BASE_ROWS = 8  # row counts are multiples of it


class KVCache:
    """keys[i], values[i]: float32 [slots, 2, H, positions, D/H] of layer i; branch 0 has the text, 1 has none.

    Memory is touched only as positions are written, so an unused slot costs address space and nothing else.
    A slot's text is [layers, 2 (key, value), 1, H, S, D/H]; None while the slot is free. Without text the
    keys and values are all zero, and so is what cross-attention adds: branch 1 needs none.
    """

    def __init__(self, config: DecoderConfig, num_slots: int, max_positions: int, device: str = "cpu") -> None:
        shape = (num_slots, BRANCHES, config.num_heads, max_positions, config.head_width)
        self.keys = [torch.empty(shape, device=device) for _ in range(config.num_layers)]
        self.values = [torch.empty(shape, device=device) for _ in range(config.num_layers)]
        self.text: list[Tensor | None] = [None] * num_slots

    @property
    def num_slots(self) -> int:
        return len(self.text)

    def holds_text(self, slot: int) -> bool:
        return self.text[slot] is not None

    def clear_text(self, slot: int) -> None:
        self.text[slot] = None

    def write(
        self, layer: int, slots: Tensor, branches: Tensor, positions: Tensor, keys: Tensor, values: Tensor
    ) -> None:
        """Writes keys and values of one layer.

        Args:
            keys, values: [M, H, D/H], one for each (slot, branch, position) of the three index vectors [M].
        """
        self.keys[layer][slots, branches, :, positions] = keys
        self.values[layer][slots, branches, :, positions] = values

    def read(self, layer: int, slot: int, num_branches: int, length: int) -> tuple[Tensor, Tensor]:
        """Views [num_branches, H, length, D/H] of the positions that exist."""
        return (
            self.keys[layer][slot, :num_branches, :, :length],
            self.values[layer][slot, :num_branches, :, :length],
        )


def sinusoidal_positions(num_positions: int, width: int) -> Tensor:
    """float32 [num_positions, width]: [cos, sin], period 10000, divisor half - 1 (tensor2tensor's form)."""
    half = width // 2
    rates = torch.exp(torch.arange(half).float() * -(math.log(10000) / (half - 1)))
    angles = torch.arange(num_positions).float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class MusicgenDecoder:
    """The reference, and the decoder of weights that are spread over several places. Rows are padded to counts that
    agree bit for bit.

    Args:
        max_positions: the most a slot can hold.
        layer_devices: where each layer is computed and keeps its keys and values; the embedding's device if not said.
    """

    def __init__(
        self,
        config: DecoderConfig,
        weights: DecoderWeights,
        max_positions: int,
        *,
        layer_devices: Sequence[str] = (),
    ) -> None:
        self.config = config
        self.weights = weights
        self.device = str(weights.embedding.device)
        self._layer_devices = layer_devices or [self.device] * config.num_layers
        self.positions = sinusoidal_positions(max_positions, config.width).to(self.device)
        self.row_counts = agreeing_row_counts(config, weights)
        self._offsets = torch.arange(config.num_codebooks, device=self.device) * (config.vocab_size + 1)
        self._activation = gelu if config.activation == "gelu" else relu

    @property
    def max_rows(self) -> int:
        return self.row_counts[-1]

    @property
    def step_bytes(self) -> int:
        return self.weights.step_bytes

    @property
    def numerics(self) -> str:
        dtype = str(self.weights.heads.weight.dtype).removeprefix("torch.")
        if self.device == "cpu":
            return f"{dtype} {torch.backends.cpu.get_cpu_capability()} {torch.get_num_threads()} threads"
        return f"{dtype} {torch.cuda.get_device_name(self.device)}"

    def bytes_of(self, num_positions: int, num_branches: int, num_text_tokens: int) -> int:
        """float32, of every layer; see `KVCache`."""
        return 2 * 4 * self.config.num_layers * self.config.width * (num_branches * num_positions + num_text_tokens)

    def close(self) -> None:
        """Ends nothing: torch's threads are the process's."""

    def new_cache(self, num_slots: int) -> KVCache:
        cache = KVCache(self.config, num_slots, len(self.positions), "meta")
        for layers in (cache.keys, cache.values):
            placed = zip(layers, self._layer_devices, strict=True)
            layers[:] = [torch.empty_like(layer, device=device) for layer, device in placed]
        return cache

    def read_text(self, cache: KVCache, slot: int, text_states: Tensor) -> None:
        config, projection = self.config, self.weights.text_projection
        states = text_states.to(self.device)
        states = projection(states) if projection else states
        shape = (states.shape[0], 2, 1, config.num_heads, config.head_width)
        products = zip(self._layer_devices, (layer.cross_kv for layer in self.weights.layers), strict=True)
        layers = [product(states.to(device)).to(self.device) for device, product in products]
        cache.text[slot] = torch.stack([layer.view(shape).permute(1, 2, 3, 0, 4) for layer in layers])

    def hidden(self, rows: Rows, cache: KVCache) -> Tensor:
        config, num_rows, padded_rows = self.config, len(rows), self._padded(len(rows))
        heads = (config.num_heads, config.head_width)
        slots, branches, positions = (
            torch.from_numpy(each).to(self.device) for each in (rows.slots, rows.branches, rows.positions)
        )
        x = self._embed(torch.from_numpy(rows.tokens).to(self.device), positions, padded_rows)
        for i, layer in enumerate(self.weights.layers):
            device = self._layer_devices[i]
            x, slots, branches, positions = (each.to(device) for each in (x, slots, branches, positions))
            q, k, v = layer.self_qkv(layer.self_norm(x)).view(padded_rows, 3, *heads).unbind(1)
            cache.write(i, slots, branches, positions, k[:num_rows], v[:num_rows])
            attended = torch.zeros_like(x).view(padded_rows, *heads)
            for at in rows.slot_positions:
                mine = slice(at.row, at.row + at.num_branches)
                keys, values = cache.read(i, at.slot, at.num_branches, at.position + 1)
                attended[mine] = scaled_dot_product_attention(q[mine, :, None], keys, values)[:, :, 0]
            x = x + layer.self_out(attended.view_as(x))

            q = layer.cross_q(layer.cross_norm(x)).view(padded_rows, *heads)
            attended = torch.zeros_like(x).view(padded_rows, *heads)
            for at in rows.slot_positions:
                text = cache.text[at.slot]
                if text is not None:
                    mine = slice(at.row, at.row + 1)
                    keys, values = text[i].to(device)
                    attended[mine] = scaled_dot_product_attention(q[mine, :, None], keys, values)[:, :, 0]
            x = x + layer.cross_out(attended.view_as(x))

            x = x + layer.ffn_out(self._activation(layer.ffn_in(layer.ffn_norm(x))))
        normed: Tensor = self.weights.final_norm(x.to(self.device))
        return normed[:num_rows]

    def logits(self, hidden: Tensor) -> Tensor:
        num_rows, padded_rows = len(hidden), self._padded(len(hidden))
        logits: Tensor = self.weights.heads(pad_rows(hidden, padded_rows))
        return logits.view(padded_rows, self.config.num_codebooks, self.config.vocab_size)[:num_rows]

    def draw(self, with_text: Tensor, without_text: Tensor, batch: SamplingBatch, frames: np.ndarray) -> Draw:
        guided = guide(with_text, without_text, batch)
        return Draw(sample(guided, batch, frames).cpu().numpy(), guided)

    def _padded(self, num_rows: int) -> int:
        return next(count for count in self.row_counts if count >= num_rows)

    def _embed(self, tokens: Tensor, positions: Tensor, padded_rows: int) -> Tensor:
        embedded = self.weights.embedding[tokens + self._offsets]
        total = embedded[:, 0]
        for k in range(1, self.config.num_codebooks):
            total = total + embedded[:, k]
        return pad_rows(total + self.positions[positions], padded_rows)


def pad_rows(x: Tensor, padded_rows: int) -> Tensor:
    """[M, …] → [padded_rows, …], zeros below."""
    if x.shape[0] == padded_rows:
        return x
    padded = x.new_zeros((padded_rows, *x.shape[1:]))
    padded[: x.shape[0]] = x
    return padded


def agreeing_row_counts(config: DecoderConfig, weights: DecoderWeights) -> tuple[int, ...]:
    """Ascending multiples of BASE_ROWS up to MAX_ROWS, all bit for bit alike, each row wherever it stands.

    Raises:
        RuntimeError: When this machine's kernels give no such set (a row's place in a block changes its bits).
    """
    candidates = range(BASE_ROWS, MAX_ROWS + 1, BASE_ROWS)
    if weights.embedding.device.type != "cpu":
        return tuple(candidates)
    counts = set(candidates)
    for function, width in _row_functions(config, weights):
        x = torch.randn(MAX_ROWS, width, generator=torch.Generator().manual_seed(0))
        alone = _in_blocks(function, x, BASE_ROWS)
        if not torch.equal(_in_blocks(function, x.roll(3, 0), BASE_ROWS).roll(-3, 0), alone):
            raise RuntimeError(
                "matrix products on this machine depend on a row's place in its batch, so generations could depend "
                "on their neighbours; another dtype or number of threads may do better"
            )
        counts &= {rows for rows in candidates if _agrees(function, x, alone, rows)}
    return tuple(sorted(counts))


def _row_functions(config: DecoderConfig, weights: DecoderWeights) -> Iterator[tuple[Callable[[Tensor], Tensor], int]]:
    """Everything the forward pass applies to all rows at once, with its input's width; layers are alike."""
    layer = weights.layers[0]
    for product in (layer.self_qkv, layer.self_out, layer.cross_q, layer.cross_out, layer.ffn_in, layer.ffn_out):
        yield product, product.weight.shape[1]
    yield weights.heads, config.width
    yield layer.self_norm, config.width
    yield torch.nn.functional.gelu, config.ffn_width


def _in_blocks(function: Callable[[Tensor], Tensor], x: Tensor, rows: int) -> Tensor:
    return torch.cat([function(block) for block in torch.split(x, rows)])


def _agrees(function: Callable[[Tensor], Tensor], x: Tensor, alone: Tensor, rows: int) -> bool:
    whole = len(x) // rows * rows
    return torch.equal(_in_blocks(function, x[:whole], rows), alone[:whole])
