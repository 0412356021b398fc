"""Every bit of the kernels' float32 arithmetic, beside the same operations one by one in plain Python."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest
from numba import njit

from deployments.language_model.cpu import attention, products, step
from deployments.language_model.cpu.emitter import LANES, fma, largest_magnitude, largest_of, sum_of, sum_of_squares
from deployments.language_model.cpu.kernels import GROUP

_fmaf = ctypes.CDLL(None).fmaf
_fmaf.argtypes, _fmaf.restype = [ctypes.c_float] * 3, ctypes.c_float
plain_fma = np.vectorize(lambda x, y, z: np.float32(_fmaf(x, y, z)), otypes=[np.float32])

Combine = Callable[[np.ndarray, np.ndarray], np.ndarray]


def folded(lanes: np.ndarray, combine: Combine = np.add) -> np.float32:
    while len(lanes) > 1:
        lanes = combine(*np.split(lanes, 2))
    return np.float32(lanes[0])


def in_order(vectors: np.ndarray) -> np.float32:
    total = np.zeros(LANES, np.float32)
    for vector in vectors.reshape(-1, LANES):
        total = total + vector
    return folded(total)


def squares_in_order(vectors: np.ndarray, mean: np.float32) -> np.float32:
    total = np.zeros(LANES, np.float32)
    for vector in vectors.reshape(-1, LANES):
        total = plain_fma(vector - mean, vector - mean, total)
    return folded(total)


def numbers(count: int) -> np.ndarray:
    """Of many magnitudes, so that another order or another rounding shows."""
    rng = np.random.default_rng(count)
    return (rng.standard_normal(count) * 10.0 ** rng.integers(-1, 2, count)).astype(np.float32)


@njit(error_model="numpy")  # type: ignore[untyped-decorator]
def reduced(values, num_vectors, mean):  # type: ignore[no-untyped-def]
    return (
        sum_of(values, num_vectors),
        sum_of_squares(values, num_vectors, mean),
        largest_of(values, num_vectors),
        largest_magnitude(values, num_vectors),
        fma(mean, mean, mean),
    )


@pytest.mark.parametrize("num_vectors", [1, 2, 3, 16, 37])
def test_each_reduction_takes_its_numbers_in_the_order_it_says(num_vectors: int) -> None:
    values, mean = numbers(num_vectors * LANES), np.float32(1.1)
    expected = (
        in_order(values),
        squares_in_order(values, mean),
        values.max(),
        np.abs(values).max(),
        plain_fma(mean, mean, mean),
    )
    assert np.float32(reduced(values.ctypes.data, num_vectors, mean)).tobytes() == np.float32(expected).tobytes()


def test_the_numbers_tell_orders_and_roundings_apart() -> None:
    values, mean = numbers(37 * LANES), np.float32(1.1)
    assert in_order(values) not in (values.cumsum(dtype=np.float32)[-1], in_order(values[::-1].copy()))
    assert squares_in_order(values, mean) != in_order((values - mean) ** 2)


def test_layer_norm_is_its_formula_to_the_bit() -> None:
    x, norm = numbers(3 * GROUP), numbers(6 * GROUP).reshape(2, -1)
    out, width = np.zeros_like(x), np.float32(x.size)
    step.layer_norm(x, norm, out)
    mean = in_order(x) / width
    factor = np.float32(1) / np.sqrt(squares_in_order(x, mean) / width + np.float32(1e-5))
    np.testing.assert_array_equal(out, plain_fma((x - mean) * factor, *norm))


def test_gelu_is_its_formula_to_the_bit() -> None:
    x = np.linspace(-12, 12, 1001, dtype=np.float32)
    one, half, z = np.float32(1), np.float32(0.5), np.clip(x * np.float32(0.7071067811865476), -4, 4)
    p, *ps = np.float32(
        [
            -2.72614225801306e-10,
            2.77068142495902e-08,
            -2.10102402082508e-06,
            -5.69250639462346e-05,
            -7.34990630326855e-04,
            -2.95459980854025e-03,
            -1.60960333262415e-02,
        ]
    )
    q, *qs = np.float32(
        [
            -1.45660718464996e-05,
            -2.13374055278905e-04,
            -1.68282697438203e-03,
            -7.37332916720468e-03,
            -1.42647390514189e-02,
        ]
    )
    for coefficient in ps:
        p = plain_fma(p, z * z, coefficient)
    for coefficient in qs:
        q = plain_fma(q, z * z, coefficient)
    expected = half * x * (one + z * p / q)
    step.gelu(x)
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 200])
def test_softmax_is_its_formula_to_the_bit_whatever_lies_behind_it(length: int) -> None:
    vectors = -(-length // LANES)
    scores, exponents = np.full(vectors * LANES, np.nan, np.float32), np.zeros(vectors * LANES, np.int32)
    scores[:length] = numbers(length)
    scale = np.float32(GROUP**-0.5) * np.float32(1.4426950408889634)
    x = np.maximum((scores[:length] - scores[:length].max()) * scale, np.float32(-126))
    whole = np.floor(x + np.float32(0.5))
    p = np.float32(1.54035303934e-04)
    for coefficient in np.float32(
        [1.33335581464e-03, 9.61812910763e-03, 5.55041086648e-02, 2.40226506959e-01, 6.93147180560e-01, 1]
    ):
        p = plain_fma(p, x - whole, coefficient)
    expected = np.zeros_like(scores)
    expected[:length] = np.ldexp(p, whole.astype(np.int32))
    total = attention.softmax_weights(scores, exponents, exponents.view(np.float32), length)
    np.testing.assert_array_equal(scores, expected)
    assert np.float32(total) == in_order(expected)


def test_bytes_are_their_formula_to_the_bit() -> None:
    x = numbers(3 * GROUP)
    x[GROUP : 2 * GROUP] = 0
    out, scales, starts = np.zeros(x.size, np.int8), np.zeros(3, np.float32), np.zeros(3, np.int32)
    products.quantise_row(x, out, scales, starts)
    for g, group in enumerate(x.reshape(-1, GROUP)):
        largest = np.abs(group).max()
        y = group * (np.float32(127) / largest if largest else np.float32(0))
        expected = np.trunc(y + np.where(y > 0, np.float32(0.5), np.float32(-0.5))).astype(np.int8)
        np.testing.assert_array_equal(out.reshape(-1, GROUP)[g], expected)
        assert scales[g] == largest / np.float32(127)
        assert starts[g] == -128 * int(expected.astype(np.int32).sum())
