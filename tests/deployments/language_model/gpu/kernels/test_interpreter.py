"""What is added to Triton's interpreter, and what only it can show. Ignored on a GPU."""

from __future__ import annotations

import itertools

import pytest
import torch
import triton
import triton.language as tl
from triton.runtime.errors import InterpreterError

from tests.deployments.language_model.gpu.kernels.cases import OUT_OF_BOUNDS, Pair, random
from tests.deployments.language_model.gpu.kernels.interpreter import shuffle_programs
from tests.deployments.language_model.gpu.kernels.steps import SMALL, Step


@triton.jit
def convert(numbers, converted, BLOCK: tl.constexpr):
    each = tl.arange(0, BLOCK)
    tl.store(converted + each, tl.load(numbers + each).to(converted.dtype.element_ty))


@triton.jit
def multiply(a, b, product):
    rows, columns = tl.arange(0, 16)[:, None] * 16, tl.arange(0, 16)[None, :]
    total = tl.dot(tl.load(a + rows + columns), tl.load(b + rows + columns), tl.zeros((16, 16), tl.float32))
    tl.store(product + rows + columns, total)


@triton.jit
def count(order, counter):
    program = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    tl.store(order + program, tl.atomic_add(counter, 1))


def test_float32_and_8_bits_round_to_bfloat16_as_torch_rounds_them() -> None:
    """Halfway between two numbers, at the ends of the range, and beyond it."""
    bits = torch.tensor(list(itertools.product(range(0, 2**16, 257), (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF))))
    floats = ((bits[:, 0] << 16) + bits[:, 1]).to(torch.int64).to(torch.int32).view(torch.float32)
    floats = floats[~floats.isnan()][:1024]
    for numbers in (floats, torch.arange(-128, 128).to(torch.int8)):
        converted = torch.zeros(len(numbers), dtype=torch.bfloat16)
        convert[(1,)](numbers, converted, BLOCK=len(numbers))
        assert torch.equal(converted, numbers.bfloat16())
        back = torch.zeros(len(numbers))
        convert[(1,)](converted, back, BLOCK=len(numbers))
        assert torch.equal(back, converted.float())


def test_a_product_of_bfloat16_is_that_of_its_numbers_in_float32() -> None:
    a, b, product = random(16, 16).bfloat16(), random(16, 16, seed=1).bfloat16(), torch.zeros(16, 16)
    multiply[(1,)](a, b, product)
    torch.testing.assert_close(product, a.float() @ b.float())


@pytest.mark.parametrize(("read", "written"), [(15, 16), (16, 15)])
def test_what_is_read_or_written_beside_a_tensor_is_refused(read: int, written: int) -> None:
    memory = torch.zeros(2, 16)  # beside either there is memory that can be read and written
    with pytest.raises(InterpreterError, match=f"1 of 16 addresses are {OUT_OF_BOUNDS}"):
        convert[(1,)](memory[0, :read], memory[1, :written], BLOCK=16)


def test_shuffled_programs_each_run_once_and_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    shuffle_programs(monkeypatch, seed=1)
    order, counter = torch.full((12,), -1, dtype=torch.int32), torch.zeros(1, dtype=torch.int32)
    count[(3, 4)](order, counter)
    assert sorted(order.tolist()) == list(range(12))
    assert order.tolist() != list(range(12))


def test_programs_that_run_in_another_order_make_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair.of(SMALL, torch.float32)
    steps = [Step(pair, pair.kernels, "float32")]
    shuffle_programs(monkeypatch, seed=1)
    steps.append(Step(pair, pair.kernels, "float32"))
    assert torch.equal(steps[0].logits, steps[1].logits)
    assert torch.equal(steps[0].drawn, steps[1].drawn)
    assert torch.equal(steps[0].state.cache, steps[1].state.cache)
    assert torch.equal(steps[0].state.tokens, steps[1].state.tokens)
