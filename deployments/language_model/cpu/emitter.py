"""What kernels are written with: an LLVM builder over vectors of 16 lanes, and sums that are fixed to the bit.

Every bit of this float32 arithmetic is fixed: what is rounded, and in which order a sum is taken. A compiler that may
choose (numba's `fastmath`) chooses anew for every copy of a function: the one that stands alone, and those inlined into
its callers. Which copy a call finds depends on what the process loaded before it, and that order is another one where
kernels are compiled than where they are loaded from numba's cache. So no operation here carries a fast-math flag. What
that would gain, fused products and sums by vectors, these intrinsics do explicitly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
VECTOR_BYTES = 4 * LANES
QUAD = 4  # bytes that one lane of `dot_bytes` multiplies and adds

I8, I32, I64, F16, F32 = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.HalfType(), ir.FloatType()
VI32, VF16, VF32 = (ir.VectorType(scalar, LANES) for scalar in (I32, F16, F32))

Codegen = Callable[[Any, ir.IRBuilder, Any, Sequence[ir.Value]], Any]  # of an intrinsic, as numba calls it

llvmlite.binding.initialize_native_asmparser()
HAS_VNNI = bool(llvmlite.binding.get_host_cpu_features().get("avx512vnni"))


class Emitter:
    """The few operations that kernels are made of, over an LLVM builder."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.b = builder

    def int64(self, value: int) -> ir.Constant:
        return ir.Constant(I64, value)

    def at(self, address: ir.Value, *offsets: tuple[ir.Value | int, ir.Value | int]) -> ir.Value:
        """address + the sum of index · stride."""
        for offset in offsets:
            index, stride = (self.int64(each) if isinstance(each, int) else each for each in offset)
            address = self.b.add(address, self.b.mul(index, stride))
        return address

    def load(self, address: ir.Value, kind: ir.Type, align: int) -> ir.Value:
        value = self.b.load(self.b.inttoptr(address, kind.as_pointer()))
        value.align = align
        return value

    def store(self, value: ir.Value, address: ir.Value, align: int) -> None:
        self.b.store(value, self.b.inttoptr(address, value.type.as_pointer())).align = align

    def broadcast(self, scalar: ir.Value) -> ir.Value:
        kind = ir.VectorType(scalar.type, LANES)
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.b.insert_element(undefined, scalar, ir.Constant(I32, 0))
        return self.b.shuffle_vector(first, undefined, ir.Constant(VI32, [0] * LANES))

    def fma(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        kind = ir.FunctionType(VF32, [VF32] * 3)
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, "llvm.fma.v16f32"), [x, y, z])

    def larger(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.b.select(self.b.fcmp_ordered(">", x, y), x, y)

    def magnitude(self, x: ir.Value) -> ir.Value:
        kind = ir.FunctionType(VF32, [VF32])
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, "llvm.fabs.v16f32"), [x])

    def fold(self, lanes: ir.Value, combine: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
        """Lanes to one number: the lower half with the upper one, until one is left."""
        half = LANES // 2
        while half:
            low, high = (
                self.b.shuffle_vector(
                    lanes, lanes, ir.Constant(ir.VectorType(I32, half), list(range(first, first + half)))
                )
                for first in (0, half)
            )
            lanes, half = combine(low, high), half // 2
        return self.b.extract_element(lanes, ir.Constant(I32, 0))

    def half_to_float(self, x: ir.Value) -> ir.Value:
        return self.b.fpext(x, VF32)

    def prefetch(self, address: ir.Value) -> None:
        kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
        function = cgutils.get_or_insert_function(self.b.module, kind, "llvm.prefetch.p0")
        pointer = self.b.inttoptr(address, I8.as_pointer())
        self.b.call(function, [pointer, ir.Constant(I32, 0), ir.Constant(I32, 3), ir.Constant(I32, 1)])

    def dot_bytes(self, total: ir.Value, unsigned: ir.Value, signed: ir.Value) -> ir.Value:
        """Lane by lane, total + the sum of four products of bytes: vpdpbusd, or the same in plain integers."""
        if HAS_VNNI:
            kind = ir.FunctionType(VI32, [VI32] * 3)
            return self.b.asm(kind, "vpdpbusd $3, $2, $0", "=v,0,v,v", [total, unsigned, signed], False)
        for byte in range(QUAD):
            left = ir.Constant(VI32, [24 - 8 * byte] * LANES)
            right = ir.Constant(VI32, [24] * LANES)
            u = self.b.lshr(self.b.shl(unsigned, left), right)
            s = self.b.ashr(self.b.shl(signed, left), right)
            total = self.b.add(total, self.b.mul(u, s))
        return total

    def loop(
        self, count: ir.Value, carried: Sequence[ir.Value], body: Callable[[ir.Value, list[ir.Value]], list[ir.Value]]
    ) -> list[ir.Value]:
        """body(i, values) → values for i in 0 … count - 1; count must be at least 1. The values after the last."""
        before, block = self.b.block, self.b.append_basic_block("loop")
        self.b.branch(block)
        self.b.position_at_end(block)
        i = self.b.phi(I64)
        i.add_incoming(self.int64(0), before)
        phis = [self.b.phi(value.type) for value in carried]
        for phi, value in zip(phis, carried, strict=True):
            phi.add_incoming(value, before)
        values = body(i, list(phis))
        end, following = self.b.block, self.b.add(i, self.int64(1))
        i.add_incoming(following, end)
        for phi, value in zip(phis, values, strict=True):
            phi.add_incoming(value, end)
        after = self.b.append_basic_block("after")
        self.b.cbranch(self.b.icmp_signed("<", following, count), block, after)
        self.b.position_at_end(after)
        return values


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
    """As `largest_of`, of absolute values."""

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
