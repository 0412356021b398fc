"""The CPU's 8-bit decoder, as the engine sees it: the same methods as `model.MusicgenDecoder`, other bits.

It differs from the float32 model by the rounding of weights (one scale an output), of what is multiplied with them (one
scale for 64 neighbours of a row) and of keys and values (float16). Everything else is float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import llvmlite.binding
import numba
import numpy as np
import torch
from torch import Tensor

from deployments.checkpoints.config import CheckpointError
from deployments.language_model.config import DecoderConfig
from deployments.language_model.cpu import layout, sampling, step
from deployments.language_model.cpu.kernels import GROUP, HEAD_WIDTH, POSITIONS
from deployments.language_model.cpu.layout import Int8Cache, PackedMatrix, aligned_empty, pack, round_up
from deployments.language_model.cpu.team import ThreadTeam
from deployments.language_model.decoder import HostStepper
from deployments.language_model.engine.sampler import Draw, SamplingBatch, guide, keep_mask
from deployments.language_model.engine.step import MAX_TEXT_TOKENS, Rows, Step
from deployments.language_model.model import sinusoidal_positions
from deployments.language_model.weights import DecoderWeights, LayerNorm, LayerWeights

MAX_ROWS = 64
_KERNELS = 2  # raised with every change of a bit they compute, so that requests of other kernels are not resumed
_HALF_BYTES = 2


class Int8Decoder:
    """A `HostDecoder` with 8-bit weights, computed by a team of threads.

    Args:
        weights: float32; packed here, and not kept.
        num_threads: that share every step; no bit depends on it.

    Raises:
        CheckpointError: For a shape the kernels don't have (heads of another width than 64).
    """

    def __init__(self, config: DecoderConfig, weights: DecoderWeights, max_positions: int, *, num_threads: int) -> None:
        if config.head_width != HEAD_WIDTH:
            raise CheckpointError(
                f"8-bit decoding needs heads of {HEAD_WIDTH}, and these have {config.head_width}; set dtype: bfloat16"
            )
        if config.ffn_width % GROUP:
            raise CheckpointError(
                f"8-bit decoding needs a feed-forward width that is a multiple of {GROUP}; set dtype: bfloat16"
            )
        self.config = config
        self.max_rows = MAX_ROWS
        self._max_positions = max_positions
        self._packed, self._cross_kv, norms = [], [], []
        for layer in weights.layers:  # once each: they may be read from the disk at each access
            self._packed.append(_pack_layer(layer))
            self._cross_kv.append(pack(layer.cross_kv.weight))
            norms.append([_pair(norm) for norm in (layer.self_norm, layer.cross_norm, layer.ffn_norm)])
        self._heads = pack(weights.heads.weight)
        self._text_projection = weights.text_projection
        self._matrices = _matrices(config, weights, self._packed, np.array(norms), max_positions)
        self._scratch = _scratch(config, num_threads, max_positions)
        widest = max(self._heads.num_outputs, self._cross_kv[0].num_outputs)
        self._projected = aligned_empty((MAX_ROWS, widest), np.float32)
        self._guided = aligned_empty((MAX_ROWS, config.num_codebooks, config.vocab_size), np.float32)
        self._scores = aligned_empty((num_threads, config.vocab_size), np.float32)
        self._keys = aligned_empty((num_threads, config.vocab_size), np.int32)
        self._team = ThreadTeam(num_threads)

    @property
    def numerics(self) -> str:
        """The kernels' bits are fixed (see `emitter`); logarithms and torch's operations depend on the processor.

        Neither the number of threads matters, nor whether kernels were compiled here or loaded from numba's cache.
        """
        return f"int8 kernels {_KERNELS} {llvmlite.binding.get_host_cpu_name()} numba {numba.__version__}"

    @property
    def step_bytes(self) -> int:
        """Bytes of weights one decoding step reads."""
        return sum(matrix.size_bytes for layer in self._packed for matrix in layer) + self._heads.size_bytes

    def bytes_of(self, num_positions: int, num_branches: int, num_text_tokens: int) -> int:
        """float16, of every layer, in whole blocks of positions."""
        blocks = num_branches * -(-num_positions // POSITIONS) + -(-num_text_tokens // POSITIONS)
        return 2 * _HALF_BYTES * self.config.num_layers * self.config.width * POSITIONS * blocks

    def close(self) -> None:
        """Ends the threads."""
        self._team.close()

    def new_stepper(self, num_slots: int, memory_bytes: int | None, *, keep_logits: bool) -> Int8Stepper:
        """The logits of draws are kept in any case."""
        return Int8Stepper(self, num_slots, memory_bytes)

    def new_cache(self, num_slots: int) -> Int8Cache:
        return Int8Cache(self.config, num_slots, self._max_positions)

    def read_text(self, cache: Int8Cache, slot: int, text_states: Tensor) -> None:
        """text_states [S, D_text]: their keys and values of all layers go to the slot."""
        config, num_tokens = self.config, text_states.shape[0]
        states = self._text_projection(text_states) if self._text_projection else text_states
        blocks = round_up(num_tokens, POSITIONS) // POSITIONS
        text = aligned_empty((config.num_layers, 2, config.num_heads, blocks * POSITIONS * HEAD_WIDTH), np.float16)
        for layer, cross_kv in enumerate(self._cross_kv):
            filled = torch.zeros(blocks * POSITIONS, 2, config.num_heads, HEAD_WIDTH)
            for first in range(0, num_tokens, MAX_ROWS):
                some = states[first : first + MAX_ROWS]
                filled[first : first + len(some)] = self._project(some, cross_kv, 2 * config.width).view(
                    -1, 2, config.num_heads, HEAD_WIDTH
                )
            keys, values = filled.half().unbind(1)
            by_block = keys.view(blocks, POSITIONS, config.num_heads, HEAD_WIDTH).permute(2, 0, 3, 1)
            text[layer, 0] = by_block.reshape(config.num_heads, -1).numpy()
            text[layer, 1] = values.permute(1, 0, 2).reshape(config.num_heads, -1).numpy()
        cache.set_text(slot, text, num_tokens)

    def hidden(self, rows: Rows, cache: Int8Cache) -> Tensor:
        """[M, D] after the final norm. Writes the rows' keys and values into the cache before reading them."""
        own = layout.RowArrays(rows.tokens, rows.slots, rows.branches, rows.positions)
        self._run(step.decode, own, self._matrices, cache.layout, self._scratch)
        return torch.from_numpy(self._scratch.normed[: len(rows)].copy())

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden [M, D] → [M, K, V], valid until the next call."""
        config = self.config
        logits = self._project(hidden, self._heads, config.num_codebooks * config.vocab_size)
        return logits.view(-1, config.num_codebooks, config.vocab_size)

    def draw(self, with_text: Tensor, without_text: Tensor, batch: SamplingBatch, frames: np.ndarray) -> Draw:
        nucleus = None
        if batch.any_top_p:
            scores = guide(with_text, without_text, batch) / torch.from_numpy(batch.temperature)[:, None, None]
            nucleus = keep_mask(scores, batch).numpy()
        draws = self._draws(batch, frames, nucleus)
        halves = with_text.flatten(1).numpy(), without_text.flatten(1).numpy()
        self._run(sampling.draw, self._scratch.barrier, *halves, draws)
        return Draw(draws.tokens, torch.from_numpy(draws.guided))

    def step(self, rows: Rows, drawn: np.ndarray, batch: SamplingBatch, frames: np.ndarray, cache: Int8Cache) -> Draw:
        """`hidden`, `logits` and `draw` in one call, where no request has top_p: the same numbers, sooner.

        Args:
            drawn: int64 [2 R], the rows with the text that are drawn from, then those without.
        """
        own = layout.RowArrays(rows.tokens, rows.slots, rows.branches, rows.positions)
        heads = self._heads.weights.ctypes.data, self._heads.scales.ctypes.data
        logits = self._projected[: len(drawn), : self._heads.num_outputs]
        draws = self._draws(batch, frames, None)
        scratch = self._scratch
        self._run(step.decode_and_draw, own, drawn, self._matrices, heads, cache.layout, scratch, logits, draws)
        return Draw(draws.tokens, torch.from_numpy(draws.guided))

    def _draws(self, batch: SamplingBatch, frames: np.ndarray, nucleus: np.ndarray | None) -> layout.Draws:
        guided = self._guided[: len(frames)]
        return layout.Draws(
            guidance=batch.guidance_scale,
            temperature=batch.temperature,
            greedy=batch.greedy,
            top_k=batch.top_k,
            seeds=batch.seeds,
            frames=frames,
            nucleus=np.empty((0, *guided.shape[1:]), np.bool_) if nucleus is None else nucleus,
            guided=guided,
            scores=self._scores,
            score_bits=self._scores.view(np.int32),
            keys=self._keys,
            tokens=np.empty(frames.shape, np.int64),
        )

    def _project(self, source: Tensor, matrix: PackedMatrix, num_outputs: int) -> Tensor:
        """source [M, I] · one packed matrix → [M, outputs], valid until the next call."""
        out = self._projected[: len(source), : matrix.num_outputs]
        weights, scales = matrix.weights.ctypes.data, matrix.scales.ctypes.data
        self._run(step.project, source.numpy(), weights, scales, self._scratch, out)
        return torch.from_numpy(out[:, :num_outputs])

    def _run(self, function: Callable[..., None], *arguments: object) -> None:
        passed = int(self._scratch.barrier[0]) // self._team.num_threads
        self._team.run(function, passed, *arguments)


def _pack_layer(layer: LayerWeights) -> tuple[PackedMatrix, ...]:
    linears = (layer.self_qkv, layer.self_out, layer.cross_q, layer.cross_out, layer.ffn_in, layer.ffn_out)
    return tuple(pack(linear.weight) for linear in linears)


def _matrices(
    config: DecoderConfig,
    weights: DecoderWeights,
    packed: Sequence[Sequence[PackedMatrix]],
    norms: np.ndarray,
    max_positions: int,
) -> layout.Matrices:
    return layout.Matrices(
        weights=np.array([[matrix.weights.ctypes.data for matrix in layer] for layer in packed]),
        scales=np.array([[matrix.scales.ctypes.data for matrix in layer] for layer in packed]),
        norms=norms,
        final_norm=_pair(weights.final_norm),
        embedding=weights.embedding.numpy().copy(),
        positions=sinusoidal_positions(max_positions, config.width).numpy(),
        ffn_width=config.ffn_width,
        gelu=config.activation == "gelu",
    )


def _pair(norm: LayerNorm) -> np.ndarray:
    return np.stack([norm.weight.numpy(), norm.bias.numpy()])


def _scratch(config: DecoderConfig, num_threads: int, max_positions: int) -> layout.Scratch:
    inner = max(config.width, config.ffn_width)
    positions = round_up(max(max_positions, MAX_TEXT_TOKENS), POSITIONS)
    exponents = aligned_empty((num_threads, positions), np.int32)
    return layout.Scratch(
        residual=aligned_empty((MAX_ROWS, config.width), np.float32),
        wide=aligned_empty((MAX_ROWS, max(3 * config.width, config.ffn_width)), np.float32),
        attended=aligned_empty((MAX_ROWS, config.width), np.float32),
        normed=aligned_empty((MAX_ROWS, config.width), np.float32),
        bytes=aligned_empty((MAX_ROWS, inner), np.int8),
        scales=aligned_empty((MAX_ROWS, inner // GROUP), np.float32),
        starts=aligned_empty((MAX_ROWS, inner // GROUP), np.int32),
        scores=aligned_empty((num_threads, positions), np.float32),
        exponents=exponents,
        powers=exponents.view(np.float32),
        barrier=aligned_empty((1,), np.int64),
    )


class Int8Stepper(HostStepper):
    """Steps in one compiled call where no request has top_p."""

    def __init__(self, decoder: Int8Decoder, num_slots: int, memory_bytes: int | None) -> None:
        super().__init__(decoder, num_slots, memory_bytes)
        self._int8 = decoder

    def launch(self, step: Step) -> Callable[[], Draw] | None:
        if not step.drawing or step.batch.any_top_p:
            return super().launch(step)
        draw = self._int8.step(step.rows(), step.drawn, step.batch, step.frames, self.cache)
        return lambda: draw
