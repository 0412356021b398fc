"""The compiled pieces of a step beside slow, obvious ones in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.language_model.cpu import attention, layout, products, step
from deployments.language_model.cpu.kernels import GROUP, HEAD_WIDTH, POSITIONS
from deployments.language_model.cpu.layout import PackedMatrix, aligned_empty, pack, quantised

WIDTH = 3 * GROUP


def scratch(num_rows: int, width: int) -> layout.Scratch:
    nothing = np.zeros((1, 1), np.float32)
    exponents = np.zeros((1, 1), np.int32)
    return layout.Scratch(
        residual=nothing,
        wide=nothing,
        attended=nothing,
        normed=nothing,
        bytes=aligned_empty((num_rows, width), np.int8),
        scales=aligned_empty((num_rows, width // GROUP), np.float32),
        starts=aligned_empty((num_rows, width // GROUP), np.int32),
        scores=nothing,
        exponents=exponents,
        powers=exponents.view(np.float32),
        barrier=np.zeros(1, np.int64),
    )


def product(x: np.ndarray, matrix: PackedMatrix) -> np.ndarray:
    own, out = scratch(*x.shape), aligned_empty((len(x), matrix.num_outputs), np.float32)
    for row, bytes_, scales, starts in zip(x, own.bytes, own.scales, own.starts, strict=True):
        products.quantise_row(row, bytes_, scales, starts)
    weights, scales = matrix.weights.ctypes.data, matrix.scales.ctypes.data
    products.multiply(0, 1, len(x), weights, scales, x.shape[1], matrix.num_outputs, own, out, 0)
    return out


def random_rows(num_rows: int, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((num_rows, width)).astype(np.float32)


def test_a_product_is_that_of_the_rounded_factors() -> None:
    x, weights = random_rows(5), torch.from_numpy(random_rows(2 * GROUP, seed=1))
    bytes_, out_scales = quantised(weights)
    groups = x.reshape(5, -1, GROUP)
    scales = np.abs(groups).max(-1, keepdims=True) / 127
    rounded = (np.trunc(groups / scales + np.copysign(0.5, groups)) * scales).reshape(x.shape)
    expected = rounded.astype(np.float64) @ (bytes_.double() * out_scales[:, None].double()).numpy().T
    np.testing.assert_allclose(product(x, pack(weights)), expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(expected, x @ weights.numpy().T, atol=1.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(0, 99))
def test_a_row_of_a_product_does_not_depend_on_the_rows_beside_it(num_rows: int, seed: int) -> None:
    x, matrix = random_rows(num_rows, seed), pack(torch.from_numpy(random_rows(GROUP, seed=1)))
    together = product(x, matrix)
    for i in range(num_rows):
        np.testing.assert_array_equal(together[i : i + 1], product(x[i : i + 1].copy(), matrix))


def test_a_row_of_zeros_stays_zero_and_a_matrix_is_filled_up_with_zeros() -> None:
    weights = torch.from_numpy(random_rows(GROUP + 3, seed=1))
    assert not product(np.zeros((2, WIDTH), np.float32), pack(weights)).any()
    assert not product(random_rows(1), pack(weights))[:, GROUP + 3 :].any()


def test_bytes_keep_a_row_within_half_a_step_and_add_up_to_where_sums_start() -> None:
    x = random_rows(1)[0]
    own = scratch(1, WIDTH)
    products.quantise_row(x, own.bytes[0], own.scales[0], own.starts[0])
    back = own.bytes[0].reshape(-1, GROUP) * own.scales[0][:, None]
    assert (np.abs(back - x.reshape(-1, GROUP)) <= 0.501 * own.scales[0][:, None]).all()
    np.testing.assert_array_equal(own.starts[0], -128 * own.bytes[0].reshape(-1, GROUP).astype(np.int32).sum(1))


@pytest.mark.parametrize("length", [1, 15, 16, 17, 200])
def test_attention_is_softmax_over_the_positions_that_exist(length: int) -> None:
    rng = np.random.default_rng(length)
    query = rng.standard_normal(HEAD_WIDTH).astype(np.float32) * 3
    keys, values = rng.standard_normal((2, length, HEAD_WIDTH)).astype(np.float16)
    blocks = -(-length // POSITIONS)
    by_block = np.full((blocks * POSITIONS, HEAD_WIDTH), np.nan, np.float16)  # what was never written must not matter
    by_block[:length] = keys
    stored = aligned_empty((blocks, HEAD_WIDTH, POSITIONS), np.float16)
    stored[:] = by_block.reshape(blocks, POSITIONS, HEAD_WIDTH).transpose(0, 2, 1)
    own_values = aligned_empty(values.shape, np.float16)
    own_values[:] = values
    scores, exponents = np.zeros(blocks * POSITIONS, np.float32), np.zeros(blocks * POSITIONS, np.int32)
    out = np.zeros(HEAD_WIDTH, np.float32)

    at = stored.ctypes.data, own_values.ctypes.data
    powers = exponents.view(np.float32)
    attention.attend_one_head(query.ctypes.data, *at, length, scores, exponents, powers, out.ctypes.data, *at)

    weights = torch.softmax(torch.from_numpy(keys.astype(np.float64) @ query) / HEAD_WIDTH**0.5, 0).numpy()
    np.testing.assert_allclose(scores[:length] / scores[:length].sum(), weights, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(out, weights @ values.astype(np.float64), atol=1e-5)


def test_gelu_and_layer_norm_are_torchs_within_a_few_bits() -> None:
    x = np.linspace(-12, 12, 4001, dtype=np.float32)
    expected = torch.nn.functional.gelu(torch.from_numpy(x.astype(np.float64))).numpy()
    step.gelu(x)
    np.testing.assert_allclose(x, expected, atol=3e-6)
    row, norm, out = random_rows(1)[0] * 5 + 2, random_rows(2, seed=3), np.zeros(WIDTH, np.float32)
    step.layer_norm(row, norm, out)
    expected_norm = torch.nn.functional.layer_norm(*map(torch.from_numpy, (row,)), (WIDTH,), *torch.from_numpy(norm))
    np.testing.assert_allclose(out, expected_norm.numpy(), atol=1e-5)
