"""Matrix products, with the norms before them and the activations and pages after them."""

from __future__ import annotations

import pytest

from tests.deployments.language_model.gpu.kernels.cases import Pair
from tests.deployments.language_model.gpu.kernels.comparisons import (
    compare_added_products,
    compare_keys_and_values,
    compare_normed_products,
)


@pytest.mark.parametrize("dtype", ["as it is", "int8"])
@pytest.mark.parametrize(
    ("num_rows", "num_inputs", "activation"), [(1, 128, None), (16, 512, "gelu"), (19, 48, "gelu"), (17, 128, "relu")]
)
def test_a_product_after_a_norm(even: Pair, num_rows: int, num_inputs: int, dtype: str, activation: str | None) -> None:
    compare_normed_products(even, num_rows, num_inputs, dtype, activation)


@pytest.mark.parametrize("dtype", ["as it is", "int8"])
@pytest.mark.parametrize(("num_rows", "num_inputs"), [(2, 64), (17, 336)])
def test_a_product_is_added_to_the_residual(even: Pair, num_rows: int, num_inputs: int, dtype: str) -> None:
    compare_added_products(even, num_rows, num_inputs, dtype)


@pytest.mark.parametrize("dtype", ["as it is", "int8"])
def test_queries_come_out_and_keys_and_values_go_to_their_pages(pair: Pair, dtype: str) -> None:
    compare_keys_and_values(pair, dtype)
