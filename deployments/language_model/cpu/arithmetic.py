"""float32 arithmetic of which every bit is written down: what is rounded, and in which order a sum is taken.

A compiler that may choose (numba's `fastmath`) chooses anew for every copy of a function: the one that stands alone,
and those inside each of its callers. Which copy a call finds depends on what came into the process before it, and that
order is another one where kernels are compiled than where they are loaded from numba's cache. So no kernel here lets
it choose. What that would gain, fused products and sums by vectors, is asked for with these intrinsics instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from deployments.language_model.cpu.emitter import F32, LANES, VECTOR_BYTES, VF32, Codegen, Emitter


@intrinsic  # type: ignore[untyped-decorator]
def fma(context: Any, x: Any, y: Any, z: Any) -> tuple[Any, Codegen]:
    """x · y + z of float32, rounded once; loops of it become vectors."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> Any:
        kind = ir.FunctionType(F32, [F32] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.f32"), arguments)

    return types.float32(*[types.float32] * 3), codegen


@intrinsic  # type: ignore[untyped-decorator]
def sum_of(context: Any, values: Any, num_vectors: Any) -> tuple[Any, Codegen]:
    """Of float32 [16 · vectors], at least one, by address: each lane in order, then the lanes by halves."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> Any:
        zero = ir.Constant(VF32, [0.0] * LANES)
        return _over_vectors(builder, arguments, zero, builder.fadd, builder.fadd)

    return types.float32(types.int64, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def sum_of_squares(context: Any, values: Any, num_vectors: Any, mean: Any) -> tuple[Any, Codegen]:
    """As `sum_of`, of (value - mean)²; each square is added unrounded."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> Any:
        e = Emitter(builder)
        means = e.broadcast(arguments[2])

        def add(total: ir.Value, vector: ir.Value) -> ir.Value:
            off = builder.fsub(vector, means)
            return e.fma(off, off, total)

        return _over_vectors(builder, arguments[:2], ir.Constant(VF32, [0.0] * LANES), add, builder.fadd)

    return types.float32(types.int64, types.int64, types.float32), codegen


@intrinsic  # type: ignore[untyped-decorator]
def largest_of(context: Any, values: Any, num_vectors: Any) -> tuple[Any, Codegen]:
    """Of float32 [16 · vectors], at least one, by address. None of them may be NaN."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> Any:
        lowest = ir.Constant(VF32, [float("-inf")] * LANES)
        larger = Emitter(builder).larger
        return _over_vectors(builder, arguments, lowest, larger, larger)

    return types.float32(types.int64, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def largest_magnitude(context: Any, values: Any, num_vectors: Any) -> tuple[Any, Codegen]:
    """As `largest_of`, of what they are without their signs."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> Any:
        e = Emitter(builder)

        def larger(largest: ir.Value, vector: ir.Value) -> ir.Value:
            return e.larger(largest, e.magnitude(vector))

        return _over_vectors(builder, arguments, ir.Constant(VF32, [0.0] * LANES), larger, e.larger)

    return types.float32(types.int64, types.int64), codegen


def _over_vectors(
    builder: ir.IRBuilder,
    arguments: Sequence[ir.Value],
    begun: ir.Value,
    take: Callable[[ir.Value, ir.Value], ir.Value],
    combine: Callable[[ir.Value, ir.Value], ir.Value],
) -> ir.Value:
    """take(so far, vector) for each vector in order, then one number by combining halves."""
    e = Emitter(builder)
    values, num_vectors = arguments

    def per_vector(i: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        return [take(carried[0], e.load(e.at(values, (i, VECTOR_BYTES)), VF32, 4))]

    (lanes,) = e.loop(num_vectors, [begun], per_vector)
    return e.fold(lanes, combine)
