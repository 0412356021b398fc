"""Embedding and attention in Triton. One program, one row: nothing here depends on how many there are."""

# mypy: ignore-errors
# Triton compiles these for the types they are called with.
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def embed(
    tokens,
    slots,
    positions,
    embedding,
    position_table,
    x,
    TOKENS_SLOT: tl.constexpr,
    CODEBOOKS: tl.constexpr,
    VOCABULARY: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Grid: (M, ⌈WIDTH / BLOCK⌉). VOCABULARY: rows of the embedding for each codebook, the pad's too."""
    row = tl.program_id(0)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < WIDTH
    position = tl.load(positions + row)
    read = tokens + tl.load(slots + row) * TOKENS_SLOT + position * CODEBOOKS
    total = tl.zeros((BLOCK,), tl.float32)
    for codebook in tl.static_range(CODEBOOKS):
        entry = codebook * VOCABULARY + tl.load(read + codebook)
        total += tl.load(embedding + entry.to(tl.int64) * WIDTH + columns, mask=inside, other=0.0)
    total += tl.load(position_table + position * WIDTH + columns, mask=inside, other=0.0)
    tl.store(x + row * WIDTH + columns, total, mask=inside)


@triton.jit
def attend_block(
    query, cache, table, head, first, length, HEADS: tl.constexpr, HEAD_WIDTH: tl.constexpr, PAGE: tl.constexpr,
    SPLIT: tl.constexpr,
):  # fmt: skip
    """Over SPLIT positions from `first` on: the highest score, the sum of weights, the weighted values [HEAD_WIDTH]."""
    positions = first + tl.arange(0, SPLIT)
    inside = positions < length
    channels = tl.arange(0, HEAD_WIDTH)
    page = tl.load(table + positions // PAGE, mask=inside, other=0).to(tl.int64)
    start = ((page * 2 * HEADS + head) * PAGE + positions % PAGE) * HEAD_WIDTH
    address = cache + start[:, None] + channels[None, :]
    keys = tl.load(address, mask=inside[:, None], other=0.0).to(tl.float32)
    values = tl.load(address + HEADS * PAGE * HEAD_WIDTH, mask=inside[:, None], other=0.0).to(tl.float32)
    scores = tl.where(inside, tl.sum(keys * query[None, :], 1), float("-inf"))
    highest = tl.max(scores, 0)
    weights = tl.exp(scores - highest)
    return highest, tl.sum(weights, 0), tl.sum(weights[:, None] * values, 0)


@triton.jit
def attend(
    queries,
    slots,
    branches,
    positions,
    table,
    cache,
    partial,
    arrivals,
    attended,
    scale,
    HEADS: tl.constexpr,
    HEAD_WIDTH: tl.constexpr,
    PAGE: tl.constexpr,
    SPLIT: tl.constexpr,
    SPLITS: tl.constexpr,
    TABLE_SLOT: tl.constexpr,
    TABLE_ROW: tl.constexpr,
):
    """Grid: (M, HEADS, splits of the longest row). Splits are SPLIT positions, at the same ones for every row.

    The last of a row's splits to arrive joins all of them, in their order. partial: float32 [M, HEADS, SPLITS,
    HEAD_WIDTH + 2]; arrivals: int32 [M, HEADS], zero before and after.
    """
    row, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(positions + row) + 1
    if split * SPLIT < length:
        channels = tl.arange(0, HEAD_WIDTH)
        target = row * HEADS * HEAD_WIDTH + head * HEAD_WIDTH + channels
        query = tl.load(queries + target).to(tl.float32) * scale
        own_table = table + tl.load(slots + row) * TABLE_SLOT + tl.load(branches + row) * TABLE_ROW
        highest, weight, values = attend_block(
            query, cache, own_table, head, split * SPLIT, length, HEADS, HEAD_WIDTH, PAGE, SPLIT
        )
        if length <= SPLIT:
            tl.store(attended + target, (values / weight).to(attended.dtype.element_ty))
        else:
            unit = row * HEADS + head
            parts = partial + unit * SPLITS * (HEAD_WIDTH + 2)
            own = parts + split * (HEAD_WIDTH + 2)
            tl.store(own + channels, values)
            tl.store(own + HEAD_WIDTH, highest)
            tl.store(own + HEAD_WIDTH + 1, weight)
            tl.debug_barrier()
            num_splits = tl.cdiv(length, SPLIT)
            if tl.atomic_add(arrivals + unit, 1, sem="acq_rel") == num_splits - 1:
                each = tl.arange(0, SPLITS)
                there = each < num_splits
                places = parts + each * (HEAD_WIDTH + 2)
                peaks = tl.load(places + HEAD_WIDTH, mask=there, other=float("-inf"), cache_modifier=".cg")
                sums = tl.load(places + HEAD_WIDTH + 1, mask=there, other=0.0, cache_modifier=".cg")
                all_values = tl.load(
                    places[:, None] + channels[None, :], mask=there[:, None], other=0.0, cache_modifier=".cg"
                )
                factors = tl.exp(peaks - tl.max(peaks, 0))
                joined = tl.sum(factors[:, None] * all_values, 0) / tl.sum(factors * sums, 0)
                tl.store(attended + target, joined.to(attended.dtype.element_ty))
                tl.store(arrivals + unit, 0)


@triton.jit
def attend_text(
    queries,
    slots,
    branches,
    lengths,
    table,
    cache,
    attended,
    scale,
    HEADS: tl.constexpr,
    HEAD_WIDTH: tl.constexpr,
    PAGE: tl.constexpr,
    SPLIT: tl.constexpr,
    TABLE_SLOT: tl.constexpr,
    TABLE_ROW: tl.constexpr,
    TEXT: tl.constexpr,
):
    """Grid: (M, HEADS). A text is short: its splits are joined one after the other. Without text the result is zero."""
    row, head = tl.program_id(0), tl.program_id(1)
    channels = tl.arange(0, HEAD_WIDTH)
    target = row * HEADS * HEAD_WIDTH + head * HEAD_WIDTH + channels
    slot = tl.load(slots + row)
    length = tl.where(tl.load(branches + row) == 0, tl.load(lengths + slot), 0)
    total = tl.zeros((HEAD_WIDTH,), tl.float32)
    if length > 0:
        query = tl.load(queries + target).to(tl.float32) * scale
        own_table = table + slot * TABLE_SLOT + TEXT * TABLE_ROW
        highest, weight, values = attend_block(query, cache, own_table, head, 0, length, HEADS, HEAD_WIDTH, PAGE, SPLIT)
        for first in range(SPLIT, length, SPLIT):
            next_highest, next_weight, next_values = attend_block(
                query, cache, own_table, head, first, length, HEADS, HEAD_WIDTH, PAGE, SPLIT
            )
            peak = tl.maximum(highest, next_highest)
            factor, next_factor = tl.exp(highest - peak), tl.exp(next_highest - peak)
            weight = weight * factor + next_weight * next_factor
            values = values * factor + next_values * next_factor
            highest = peak
        total = values / weight
    tl.store(attended + target, total.to(attended.dtype.element_ty))
