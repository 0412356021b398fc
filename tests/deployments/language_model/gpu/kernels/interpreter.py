"""What Triton's interpreter lacks for these tests. Imported only where TRITON_INTERPRET=1.

bfloat16  It keeps the bits as uint16: it cuts where a GPU rounds, and multiplies the bits as if they were integers.
bounds    It reads and writes wherever a pointer points.
order     It runs the programs of a grid one after the other, always in the same order.
time      It patches Triton's language again in each call of a function: a third of all it does.

All are mended through private parts of the version that constraints.txt pins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import triton.language as tl
from torch import Tensor
from triton.runtime import interpreter
from triton.runtime.interpreter import TensorHandle

from tests.deployments.language_model.gpu.kernels.cases import OUT_OF_BOUNDS

Builder = interpreter.InterpreterBuilder


def patch_language_once(patch: pytest.MonkeyPatch) -> None:
    """In each launch, for the functions of each module."""
    patch_language, launch = interpreter._patch_lang, interpreter.GridExecutor.__call__
    patched: set[int] = set()

    def patch_first(function: Any) -> Any:
        module = id(function.__globals__)
        if module in patched:
            return interpreter._LangPatchScope()
        patched.add(module)
        return patch_language(function)

    def start(self: Any, *positional: Any, **named: Any) -> None:
        patched.clear()
        launch(self, *positional, **named)

    patch.setattr(interpreter, "_patch_lang", patch_first)
    patch.setattr(interpreter.GridExecutor, "__call__", start)


def mend_bfloat16(patch: pytest.MonkeyPatch) -> None:
    """Conversions round to the nearest even number; a product multiplies the numbers and adds in float32."""
    cast, dot = Builder.cast_impl, Builder.create_dot

    def cast_impl(self: Any, source: TensorHandle, target: Any) -> TensorHandle:
        source = _widened(source)
        if target.scalar != tl.bfloat16:
            return cast(self, source, target)
        rounded = torch.from_numpy(np.array(source.data, np.float32)).bfloat16()
        return TensorHandle(rounded.view(torch.int16).numpy().view(np.uint16), tl.bfloat16)

    def create_dot(self: Any, a: TensorHandle, b: TensorHandle, *others: Any) -> TensorHandle:
        return dot(self, _widened(a), _widened(b), *others)

    patch.setattr(Builder, "cast_impl", cast_impl)
    patch.setattr(Builder, "create_dot", create_dot)


def _widened(handle: TensorHandle) -> TensorHandle:
    if handle.dtype.scalar != tl.bfloat16:
        return handle
    return TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)


def check_bounds(patch: pytest.MonkeyPatch) -> None:
    """A kernel that reads or writes outside of the tensors it was given fails: IndexError, in an InterpreterError."""
    load, store, atomic = Builder.create_masked_load, Builder.create_masked_store, Builder.create_atomic_rmw
    arguments = interpreter.GridExecutor._init_args_hst
    given: list[np.ndarray] = []  # where each tensor begins, and where it ends

    def record(self: Any, positional: Any, named: Any) -> Any:
        tensors = [each for each in (*positional, *named.values()) if isinstance(each, Tensor) and each.numel()]
        given[:] = np.array(sorted(map(_extent, tensors)), np.uint64).T
        return arguments(self, positional, named)

    def check(pointers: TensorHandle, mask: TensorHandle) -> None:
        addresses = pointers.data[np.broadcast_to(mask.data, pointers.data.shape)]
        begins, ends = given
        tensor = np.searchsorted(begins, addresses, side="right").astype(np.int64) - 1
        size = np.uint64(max(1, pointers.get_element_ty().primitive_bitwidth // 8))
        outside = (tensor < 0) | (addresses + size > ends[tensor])
        if outside.any():
            raise IndexError(f"{outside.sum()} of {outside.size} addresses are {OUT_OF_BOUNDS}")

    def create_masked_load(self: Any, pointers: TensorHandle, mask: TensorHandle, *others: Any) -> TensorHandle:
        check(pointers, mask)
        return load(self, pointers, mask, *others)

    def create_masked_store(
        self: Any, pointers: TensorHandle, value: TensorHandle, mask: TensorHandle, *others: Any
    ) -> None:
        check(pointers, mask)
        store(self, pointers, value, mask, *others)

    def create_atomic_rmw(
        self: Any, operation: Any, pointer: TensorHandle, value: TensorHandle, mask: TensorHandle, *others: Any
    ) -> TensorHandle:
        check(pointer, mask)
        return atomic(self, operation, pointer, value, mask, *others)

    patch.setattr(interpreter.GridExecutor, "_init_args_hst", record)
    patch.setattr(Builder, "create_masked_load", create_masked_load)
    patch.setattr(Builder, "create_masked_store", create_masked_store)
    patch.setattr(Builder, "create_atomic_rmw", create_atomic_rmw)


def _extent(tensor: Tensor) -> tuple[int, int]:
    """Addresses of the first byte and after the last one."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def shuffle_programs(patch: pytest.MonkeyPatch, seed: int) -> None:
    """Each grid's programs run in an order of chance."""
    set_program = Builder.set_grid_idx
    order: dict[tuple[int, ...], np.ndarray] = {}

    def set_grid_idx(self: Any, *program: int) -> None:
        grid = tuple(self.grid_dim)
        if grid not in order:
            order[grid] = np.random.default_rng(seed).permutation(int(np.prod(grid)))
        chosen = np.unravel_index(order[grid][np.ravel_multi_index(program, grid)], grid)
        set_program(self, *map(int, chosen))

    patch.setattr(Builder, "set_grid_idx", set_grid_idx)
