"""The matrix product of few rows, with what comes before and after it, in Triton.

The weights are read once for every 16 rows and everything else stays in registers: bandwidth is all that counts here.
A program sums its outputs over all inputs in one order, whatever the number of rows.
"""

# mypy: ignore-errors
# Triton compiles these for the types they are called with.
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def mean_and_scale(x, rows, present, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Of the rows of x [M, WIDTH]: their means, and one over their standard deviations. Blocks are joined as Chan,
    Golub & LeVeque (1979) do, so that a large mean costs no digits.
    """
    mean = tl.zeros((rows.shape[0],), tl.float32)
    squares = tl.zeros((rows.shape[0],), tl.float32)
    for first in range(0, WIDTH, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        block = tl.load(x + rows[:, None] * WIDTH + columns[None, :], mask=present[:, None], other=0.0)
        block_mean = tl.sum(block, 1) / BLOCK
        apart = block - block_mean[:, None]
        delta = block_mean - mean
        share = BLOCK / (first + BLOCK)
        squares += tl.sum(apart * apart, 1) + delta * delta * (first * share)
        mean += delta * share
    return mean, 1 / tl.sqrt(squares / WIDTH + 1e-5)


@triton.jit(do_not_specialize=["num_rows"])
def product(
    x,
    weight,
    scales,
    norm_weight,
    norm_bias,
    out,
    slots,
    branches,
    positions,
    table,
    cache,
    num_rows,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    NORMED: tl.constexpr,
    SCALED: tl.constexpr,
    ADDED: tl.constexpr,
    ACTIVATION: tl.constexpr,
    CACHED: tl.constexpr,
    COMPUTE: tl.constexpr,
    ROWS: tl.constexpr,
    TILE_OUTPUTS: tl.constexpr,
    TILE_INPUTS: tl.constexpr,
    HEADS: tl.constexpr,
    HEAD_WIDTH: tl.constexpr,
    PAGE: tl.constexpr,
    TABLE_SLOT: tl.constexpr,
    TABLE_ROW: tl.constexpr,
):
    """x [M, INPUTS] · weight [OUTPUTS, INPUTS]ᵀ → out [M, OUTPUTS]; grid: (rows / ROWS, OUTPUTS / TILE_OUTPUTS).

    NORMED: x is normalised first. SCALED: each output has a scale. ADDED: to what out holds. CACHED: out gets the first
    third, the queries; keys and values go to the page of the row's position. ACTIVATION: "", "gelu" or "relu".
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    present = rows < num_rows
    columns = tl.program_id(1) * TILE_OUTPUTS + tl.arange(0, TILE_OUTPUTS)
    if NORMED:
        mean, scale = mean_and_scale(x, rows, present, INPUTS, TILE_INPUTS)
    total = tl.zeros((ROWS, TILE_OUTPUTS), tl.float32)
    for first in range(0, INPUTS, TILE_INPUTS):
        inputs = first + tl.arange(0, TILE_INPUTS)
        tile = tl.load(weight + columns[:, None].to(tl.int64) * INPUTS + inputs[None, :])
        block = tl.load(x + rows[:, None] * INPUTS + inputs[None, :], mask=present[:, None], other=0.0)
        if NORMED:
            block = (block - mean[:, None]) * scale[:, None]
            block = block * tl.load(norm_weight + inputs)[None, :] + tl.load(norm_bias + inputs)[None, :]
        total = tl.dot(block.to(COMPUTE), tl.trans(tile.to(COMPUTE)), total, input_precision="ieee")
    if SCALED:
        total = total * tl.load(scales + columns)[None, :]
    if ACTIVATION == "gelu":
        total = 0.5 * total * (1 + tl.erf(total * 0.7071067811865476))
    if ACTIVATION == "relu":
        total = tl.maximum(total, 0.0)
    if CACHED:
        WIDTH: tl.constexpr = OUTPUTS // 3
        part = tl.program_id(1) * TILE_OUTPUTS // WIDTH
        inner = columns - part * WIDTH
        if part == 0:
            tl.store(
                out + rows[:, None] * WIDTH + inner[None, :], total.to(out.dtype.element_ty), mask=present[:, None]
            )
        else:
            slot = tl.load(slots + rows, mask=present, other=0)
            branch = tl.load(branches + rows, mask=present, other=0)
            position = tl.load(positions + rows, mask=present, other=0)
            page = tl.load(table + slot * TABLE_SLOT + branch * TABLE_ROW + position // PAGE, mask=present, other=0)
            block_of = (page.to(tl.int64) * 2 + part - 1)[:, None] * HEADS + (inner // HEAD_WIDTH)[None, :]
            address = (block_of * PAGE + (position % PAGE)[:, None]) * HEAD_WIDTH + (inner % HEAD_WIDTH)[None, :]
            tl.store(cache + address, total.to(cache.dtype.element_ty), mask=present[:, None])
    else:
        target = out + rows[:, None] * OUTPUTS + columns[None, :]
        if ADDED:
            total += tl.load(target, mask=present[:, None], other=0.0)
        tl.store(target, total.to(out.dtype.element_ty), mask=present[:, None])
