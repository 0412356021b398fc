"""Micro-kernels: what a compiled Python loop can't express, vectors and which of them stay in registers.

Each is a numba intrinsic on raw addresses, inlined into the compiled function that calls it. Every row's sums are
taken in one fixed order, whatever the number of rows in a call, and products of bytes are exact integers: so a row's
bits depend neither on its neighbours nor on threads, nor on which instructions the processor has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from deployments.language_model.cpu.emitter import (
    F32,
    I32,
    I64,
    LANES,
    QUAD,
    VECTOR_BYTES,
    VF16,
    VF32,
    VI32,
    Codegen,
    Emitter,
)

GROUP = 64  # inner positions that share a scale of the activations
BLOCK_OUTPUTS = 64  # outputs that are stored side by side
HEAD_WIDTH = 64
POSITIONS = LANES  # positions that are stored side by side in the keys
PREFETCH_BYTES = 2048
LINE_BYTES = 64
HALF_BYTES = 2

_QUADS_OF_GROUP = GROUP // QUAD
_STEP_BYTES = BLOCK_OUTPUTS * QUAD
_BLOCK_VECTORS = BLOCK_OUTPUTS // LANES


def _product(num_rows: int, num_lines: int) -> Any:
    """One block of outputs for a few rows: out[r, :] = scale · Σ over groups of activation scale · integer sum.

    weights: of the block, bytes [I / 4, 64 outputs, 4], each 128 more than its value. rows_bytes: activations int8
    [rows, I]. scales: float32 [rows, groups]. starts: int32 [rows, groups], -128 · the group's sum, which takes the
    128 off again. out_scales: float32 [64]. out: float32 [rows, O]; `add` = 1 adds to what is there.
    ahead: where weights lie that will be wanted next; `num_lines` cache lines of them are fetched for each quad of
    inputs, so that memory is read all the time, evenly, however many rows the arithmetic takes.
    Strides are in bytes.
    """

    def emit(e: Emitter, arguments: Sequence[ir.Value]) -> None:
        (
            weights,
            rows_bytes,
            row_stride,
            scales,
            starts,
            group_stride,
            groups,
            out_scales,
            out,
            out_stride,
            add,
            ahead,
        ) = arguments

        def per_group(g: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
            begun = []
            for r in range(num_rows):
                start = e.load(e.at(starts, (r, group_stride), (g, 4)), I32, 4)
                begun += [e.broadcast(start)] * _BLOCK_VECTORS

            def per_quad(q: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
                step = e.b.add(e.b.mul(g, e.int64(_QUADS_OF_GROUP)), q)
                here = e.at(weights, (step, _STEP_BYTES))
                vectors = [e.load(e.at(here, (v, VECTOR_BYTES)), VI32, 64) for v in range(_BLOCK_VECTORS)]
                for line in range(num_lines):
                    e.prefetch(e.at(ahead, (step, num_lines * LINE_BYTES), (line, LINE_BYTES)))
                after = []
                for r in range(num_rows):
                    quad = e.broadcast(e.load(e.at(rows_bytes, (r, row_stride), (step, QUAD)), I32, 4))
                    mine = totals[r * _BLOCK_VECTORS : (r + 1) * _BLOCK_VECTORS]
                    after += [e.dot_bytes(total, vector, quad) for total, vector in zip(mine, vectors, strict=True)]
                return after

            totals = e.loop(e.int64(_QUADS_OF_GROUP), begun, per_quad)
            after = []
            for r in range(num_rows):
                scale = e.broadcast(e.load(e.at(scales, (r, group_stride), (g, 4)), F32, 4))
                for v in range(_BLOCK_VECTORS):
                    i = r * _BLOCK_VECTORS + v
                    after.append(e.fma(e.b.sitofp(totals[i], VF32), scale, sums[i]))
            return after

        zero = ir.Constant(VF32, [0.0] * LANES)
        sums = e.loop(groups, [zero] * (num_rows * _BLOCK_VECTORS), per_group)
        added = e.b.icmp_signed("!=", add, e.int64(0))
        for r in range(num_rows):
            for v in range(_BLOCK_VECTORS):
                place = e.at(out, (r, out_stride), (v, VECTOR_BYTES))
                before = e.b.select(added, e.load(place, VF32, 4), zero)
                out_scale = e.load(e.at(out_scales, (v, VECTOR_BYTES)), VF32, 4)
                e.store(e.fma(sums[r * _BLOCK_VECTORS + v], out_scale, before), place, 4)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> Any:
        emit(Emitter(builder), arguments)
        return context.get_dummy_value()

    @intrinsic  # type: ignore[untyped-decorator]
    def product(
        context: Any,
        weights: Any,
        rows_bytes: Any,
        row_stride: Any,
        scales: Any,
        starts: Any,
        group_stride: Any,
        groups: Any,
        out_scales: Any,
        out: Any,
        out_stride: Any,
        add: Any,
        ahead: Any,
    ) -> tuple[Any, Codegen]:
        return types.void(*[types.int64] * 12), codegen

    return product


# Four rows by four vectors of outputs: sixteen sums and what they are made of just fit the registers.
product_1_1, product_1_2, product_1_4 = (_product(1, num_lines) for num_lines in (1, 2, 4))
product_2_1, product_2_2, product_2_4 = (_product(2, num_lines) for num_lines in (1, 2, 4))
product_4_1, product_4_2, product_4_4 = (_product(4, num_lines) for num_lines in (1, 2, 4))


@intrinsic  # type: ignore[untyped-decorator]
def attention_scores(
    context: Any, query: Any, keys: Any, num_blocks: Any, out: Any, next_keys: Any
) -> tuple[Any, Codegen]:
    """out float32 [16 · blocks] = query float32 [64] · keys float16 [blocks, 64, 16 positions], a block at a time.

    Fetches as much of the keys that will be read next as it reads.
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> Any:
        e = Emitter(builder)
        query, keys, num_blocks, out, next_keys = arguments
        zero = ir.Constant(VF32, [0.0] * LANES)
        chains = 4  # independent sums, for the latency of an addition; added in one order at the end
        row_bytes = POSITIONS * HALF_BYTES

        def per_block(block: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
            offset = (block, HEAD_WIDTH * row_bytes)
            here, ahead = e.at(keys, offset), e.at(next_keys, offset)
            sums = [zero] * chains
            for d in range(HEAD_WIDTH):
                if d * row_bytes % LINE_BYTES == 0:
                    e.prefetch(e.at(ahead, (d, row_bytes)))
                component = e.broadcast(e.load(e.at(query, (d, 4)), F32, 4))
                vector = e.half_to_float(e.load(e.at(here, (d, row_bytes)), VF16, 32))
                sums[d % chains] = e.fma(component, vector, sums[d % chains])
            total = e.b.fadd(e.b.fadd(sums[0], sums[1]), e.b.fadd(sums[2], sums[3]))
            e.store(total, e.at(out, (block, VECTOR_BYTES)), 4)
            return carried

        e.loop(num_blocks, [], per_block)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen


@intrinsic  # type: ignore[untyped-decorator]
def weighted_values(
    context: Any, weights: Any, values: Any, num_positions: Any, scale: Any, out: Any, next_values: Any
) -> tuple[Any, Codegen]:
    """out float32 [64] = scale · Σ over positions of weights float32 [T] · values float16 [T, 64], in their order.

    Fetches as much of the values that will be read next as it reads.
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> Any:
        e = Emitter(builder)
        weights, values, num_positions, scale, out, next_values = arguments
        vectors, row_bytes = HEAD_WIDTH // LANES, HEAD_WIDTH * HALF_BYTES

        def per_position(t: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
            weight = e.broadcast(e.load(e.at(weights, (t, 4)), F32, 4))
            here, ahead = e.at(values, (t, row_bytes)), e.at(next_values, (t, row_bytes))
            for line in range(row_bytes // LINE_BYTES):
                e.prefetch(e.at(ahead, (line, LINE_BYTES)))
            loaded = [e.half_to_float(e.load(e.at(here, (v, HALF_BYTES * LANES)), VF16, 32)) for v in range(vectors)]
            return [e.fma(weight, vector, total) for vector, total in zip(loaded, sums, strict=True)]

        sums = e.loop(num_positions, [ir.Constant(VF32, [0.0] * LANES)] * vectors, per_position)
        for v, total in enumerate(sums):
            e.store(e.b.fmul(total, e.broadcast(scale)), e.at(out, (v, VECTOR_BYTES)), 4)
        return context.get_dummy_value()

    arguments = [types.int64, types.int64, types.int64, types.float32, types.int64, types.int64]
    return types.void(*arguments), codegen


@intrinsic  # type: ignore[untyped-decorator]
def prefetch_lines(context: Any, address: Any, num_lines: Any) -> tuple[Any, Codegen]:
    """Prefetches cache lines; harmless for an address that is not mapped."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> Any:
        e = Emitter(builder)
        address, num_lines = arguments

        def per_line(i: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
            e.prefetch(e.at(address, (i, LINE_BYTES)))
            return carried

        e.loop(num_lines, [], per_line)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


def _write_halves(scattered: bool) -> Any:
    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> Any:
        e = Emitter(builder)
        source, target = arguments
        for first in range(0, HEAD_WIDTH, LANES):
            halves = e.b.fptrunc(e.load(e.at(source, (first, 4)), VF32, 4), VF16)
            if not scattered:
                e.store(halves, e.at(target, (first, HALF_BYTES)), 2)
                continue
            for lane in range(LANES):
                half = e.b.extract_element(halves, ir.Constant(I32, lane))
                e.store(half, e.at(target, (first + lane, POSITIONS * HALF_BYTES)), 2)
        return context.get_dummy_value()

    @intrinsic  # type: ignore[untyped-decorator]
    def write(context: Any, source: Any, target: Any) -> tuple[Any, Codegen]:
        return types.void(*[types.int64] * 2), codegen

    return write


# float32 [64] → float16: side by side as a value is, or 16 apart as one position of a block of keys.
write_value = _write_halves(scattered=False)
write_key = _write_halves(scattered=True)


@intrinsic  # type: ignore[untyped-decorator]
def count_up(context: Any, counter: Any) -> tuple[Any, Codegen]:
    """Adds one to the int64 at an address, atomically; returns what it was."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> Any:
        pointer = builder.inttoptr(arguments[0], I64.as_pointer())
        return builder.atomic_rmw("add", pointer, ir.Constant(I64, 1), "seq_cst")

    return types.int64(types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def load_shared(context: Any, counter: Any) -> tuple[Any, Codegen]:
    """The int64 at an address as other threads left it (load-acquire)."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> Any:
        pointer = builder.inttoptr(arguments[0], I64.as_pointer())
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(types.int64), codegen
